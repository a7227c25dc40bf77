"""Events: facts in the past tense. `Event` goes in, `RecordedEvent` is what the store holds.

stream    the ordered events of one run; `run_id` is its name
position  1, 2, 3 … without gaps over all of a tenant's events
version   1, 2, 3 … within a run
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ledger.contract import payloads
from ledger.contract.event_type import EventType as EventType  # exported: events and their kinds go together
from ledger.contract.evolution import SCHEMA_VERSIONS, upcast
from ledger.contract.names import TENANT_STREAM, Name, TenantId, is_reserved
from ledger.contract.times import UtcTime, rfc3339
from ledger.contract.uuid7 import uuid7

EVENT_TYPES: dict[str, EventType] = {member.value: member for member in EventType}
_PRESENT = {kind.value: version for kind, version in SCHEMA_VERSIONS.items()}

PAYLOAD_MODELS: dict[EventType, type[payloads.Payload]] = {
    EventType.RUN_STARTED: payloads.RunStarted,
    EventType.RUN_SUCCEEDED: payloads.RunSucceeded,
    EventType.RUN_FAILED: payloads.RunFailed,
    EventType.RUN_CANCELLED: payloads.RunCancelled,
    EventType.STEP_STARTED: payloads.StepStarted,
    EventType.STEP_SUCCEEDED: payloads.StepSucceeded,
    EventType.STEP_FAILED: payloads.StepFailed,
    EventType.STEP_RETRYING: payloads.StepRetrying,
    EventType.STEP_LOST: payloads.StepLost,
    EventType.REPAIR_APPLIED: payloads.RepairApplied,
    EventType.ARTIFACT_STORED: payloads.ArtifactStored,
    EventType.PROMPT_PACK_PUBLISHED: payloads.PromptPackChanged,
    EventType.PROMPT_PACK_REVISED: payloads.PromptPackChanged,
    EventType.PROMPT_PACK_RETIRED: payloads.PromptPackChanged,
    EventType.PROJECTION_REBUILT: payloads.ProjectionRebuilt,
    EventType.PAYLOAD_ERASED: payloads.PayloadErased,
    EventType.BLOBS_COLLECTED: payloads.BlobsCollected,
}


class Event(BaseModel):
    """A fact to be recorded. Constructing one checks the envelope; `emit` checks the payload.

    `timestamp` is when it happened, aware, kept in UTC. `attempt` counts from 1. `actor` is who
    or what did it; `traceparent` is W3C Trace Context. The same `event_id` is recorded once; where none
    is given it is a UUID of version 7, in order of time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_type: EventType
    run_id: Name
    step_id: Name | None = None
    tenant_id: TenantId
    payload: dict[str, Any] = Field(default_factory=dict)
    timestamp: UtcTime = Field(default_factory=lambda: datetime.now(UTC))
    event_id: UUID = Field(default_factory=uuid7)
    attempt: int | None = Field(default=None, ge=1, lt=2**31)
    actor: str | None = Field(default=None, min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")
    traceparent: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
    )
    schema_version: int = 0  # not given: the type's present one

    @model_validator(mode="after")
    def _stands_in_its_stream(self) -> Self:
        if self.event_type.is_administrative != (self.run_id == TENANT_STREAM):
            raise ValueError(
                f"{self.event_type.value} in stream {self.run_id!r}: administrative facts, and only they, "
                f"stand in {TENANT_STREAM!r}"
            )
        if self.run_id != TENANT_STREAM and is_reserved(self.run_id):
            raise ValueError(f"run_id {self.run_id!r}: names that begin with '$' are reserved")
        present = SCHEMA_VERSIONS[self.event_type]
        if "schema_version" not in self.model_fields_set:
            object.__setattr__(self, "schema_version", present)
        elif self.schema_version != present:
            raise ValueError(
                f"schema_version {self.schema_version}: {self.event_type.value} is written in version "
                f"{present}; older ones are only read"
            )
        if self.event_type.is_of_step and self.step_id is None:
            raise ValueError(f"{self.event_type.value} needs a step_id")
        return self


def decoded_payload(event_type: EventType, schema_version: int, data: bytes | None) -> dict[str, Any] | None:
    """The stored bytes of a payload in the present shape; None where it was erased. Raises PayloadTooNew."""
    return None if data is None else upcast(event_type, schema_version, orjson.loads(data))


def decoded_payloads(stored: Sequence[tuple[str, int, bytes | None]]) -> list[dict[str, Any]]:
    """Of many events, by type, schema version and stored bytes: their payloads in the present shape, empty
    where one was erased or is not one of the ledger's own. All are decoded at once, which takes two thirds of
    the time of a call for each. Raises PayloadTooNew."""
    texts, not_present = [], []
    for index, (kind, version, data) in enumerate(stored):
        present = _PRESENT.get(kind)
        if data is None or present is None:
            data = b"{}"
        elif version != present:
            not_present.append(index)
        texts.append(data)
    payloads: list[dict[str, Any]] = orjson.loads(b"[" + b",".join(texts) + b"]")
    for index in not_present:
        kind, version, _ = stored[index]
        payloads[index] = upcast(EVENT_TYPES[kind], version, payloads[index])
    return payloads


class RecordedEvent(NamedTuple):
    """An event as the store holds it.

    A tuple, because the read and append paths make one for every event. `data` is the exact
    stored bytes of the payload, None once erased; `payload` decodes them. `event_type` is a
    plain string where the event belongs to another application (an `eventsourcing` topic).
    """

    position: int
    version: int
    recorded_at: datetime
    event_id: UUID
    event_type: EventType | str
    tenant_id: str
    run_id: str
    step_id: str | None
    attempt: int | None
    timestamp: datetime
    actor: str | None
    traceparent: str | None
    schema_version: int
    data: bytes | None

    @property
    def payload(self) -> dict[str, Any] | None:
        """The payload as a dict, in the present shape; None where it was erased or is not one of the
        ledger's own. Raises PayloadTooNew for one that a newer daicho recorded."""
        if not isinstance(self.event_type, EventType):
            return None
        return decoded_payload(self.event_type, self.schema_version, self.data)

    @property
    def is_erased(self) -> bool:
        return self.data is None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; times in UTC (RFC 3339)."""
        return {
            "position": self.position,
            "version": self.version,
            "event_id": str(self.event_id),
            "event_type": str(self.event_type),
            "tenant_id": self.tenant_id,
            "run_id": self.run_id,
            "step_id": self.step_id,
            "attempt": self.attempt,
            "timestamp": rfc3339(self.timestamp),
            "recorded_at": rfc3339(self.recorded_at),
            "actor": self.actor,
            "traceparent": self.traceparent,
            "schema_version": self.schema_version,
            "erased": self.is_erased,
            "payload": self.payload,
        }

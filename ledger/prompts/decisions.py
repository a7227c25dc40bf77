"""Prompt pack decisions: publishing, revising and retiring as an aggregate of the `eventsourcing`
library, recorded in the tenant's own log.

pack     a stream `$prompt_packs/pack_id`; versions 1, 2, 3 … of the pack are those of its stream, and
         the decision to retire it is the last event
payload  a decision's attributes as plain JSON and nothing of the library's, so that each event reads
         like any other of the ledger's: {"by":"ann","digest":"…","pack_id":"house","prompts":{…},"version":1}

Synchronous, as the library is; `ledger.prompts.packing` calls it from threads. Importing this imports the
library, which takes longer than the rest of the write side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import (
    BaseAggregate,
    CanInitAggregate,
    CanMutateAggregate,
    DomainEventProtocol,
)
from eventsourcing.persistence import ApplicationRecorder, Mapper, StoredEvent
from eventsourcing.utils import get_topic, register_topic

from ledger.contract.event_type import EventType
from ledger.contract.names import PROMPT_PACKS
from ledger.errors import (
    InvalidPromptPack,
    PromptPackConflict,
    PromptPackNotFound,
    PromptPackRetired,
    PromptPackUnchanged,
)
from ledger.prompts.files import PromptTexts
from ledger.prompts.loading import digest_of_prompts
from ledger.store.recorder import DaichoApplicationRecorder, DaichoFactory, InvalidStoredEvent, RecordConflict

_OF_THE_LIBRARY = ("originator_id", "originator_version", "originator_topic", "timestamp")
_UNTOLD = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Decision(CanMutateAggregate[str]):
    originator_id: str
    originator_version: int
    timestamp: datetime
    pack_id: str
    version: int
    digest: str | None
    by: str | None


@dataclass(frozen=True)
class Published(Decision, CanInitAggregate[str]):
    TOPIC = EventType.PROMPT_PACK_PUBLISHED.value
    originator_topic: str
    prompts: dict[str, str]
    descriptions: dict[str, str] | None
    reason: str | None


@dataclass(frozen=True)
class Revised(Decision):
    TOPIC = EventType.PROMPT_PACK_REVISED.value
    prompts: dict[str, str]
    descriptions: dict[str, str] | None
    reason: str | None

    def apply(self, aggregate: "PackDecisions") -> None:
        aggregate.newest, aggregate.digest = self.originator_version, self.digest
        aggregate.descriptions = self.descriptions or {}


@dataclass(frozen=True)
class Retired(Decision):
    TOPIC = EventType.PROMPT_PACK_RETIRED.value
    reason: str

    def apply(self, aggregate: "PackDecisions") -> None:
        aggregate.is_retired = True


for _kind in (Published, Revised, Retired):
    register_topic(_kind.TOPIC, _kind)


class PackDecisions(BaseAggregate[str]):
    """What has been decided about one pack. `digest` is that of its newest version; None where that
    payload was erased."""

    def __init__(self, digest: str | None = None, descriptions: Mapping[str, str] | None = None) -> None:
        self.newest = 1
        self.digest = digest
        self.descriptions = descriptions or {}
        self.is_retired = False

    @classmethod
    def publish(
        cls, pack_id: str, texts: PromptTexts, by: str | None, reason: str | None = None
    ) -> "PackDecisions":
        said = _said(texts)
        return cls._create(Published, id=pack_id, pack_id=pack_id, version=1, by=by, reason=reason, **said)

    def revise(
        self, texts: PromptTexts, by: str | None, expected_version: int | None, reason: str | None = None
    ) -> None:
        self._expect_open("revised")
        if expected_version is not None and expected_version != self.newest:
            raise PromptPackConflict(
                f"Prompt pack {self.id!r} is not at the version this revision was made from",
                expected=f"version {expected_version}",
                found=f"version {self.newest}",
                fix="Load it again and revise that; nothing was recorded",
            )
        said = _said(texts)
        if said["digest"] == self.digest and texts.descriptions == self.descriptions:
            raise PromptPackUnchanged(
                f"The revision of prompt pack {self.id!r} changes nothing",
                expected=f"other prompts than version {self.newest} has (digest {said['digest'][:12]}…)",
                fix="Nothing was recorded, and nothing needs to be",
            )
        self.trigger_event(Revised, pack_id=self.id, version=self.newest + 1, by=by, reason=reason, **said)

    def retire(self, reason: str, by: str | None) -> None:
        self._expect_open("retired once more")
        self.trigger_event(
            Retired, pack_id=self.id, version=self.newest, digest=self.digest, by=by, reason=reason
        )

    def _expect_open(self, done: str) -> None:
        if self.is_retired:
            raise PromptPackRetired(
                f"Prompt pack {self.id!r} is retired and cannot be {done}",
                fix="Publish the prompts under another id",
            )


def _said(texts: PromptTexts) -> dict[str, Any]:
    return {
        "digest": digest_of_prompts(texts.prompts),
        "prompts": dict(texts.prompts),
        "descriptions": dict(texts.descriptions) or None,
    }


class PromptPackDecisions(Application[str]):
    """`with PromptPackDecisions(env=tenant.application_env()) as decisions: ...`"""

    name = PROMPT_PACKS

    def publish(self, pack_id: str, texts: PromptTexts, by: str | None, reason: str | None = None) -> int:
        """Raises PromptPackConflict where there is a pack of this id, retired or not."""
        return self._decided(PackDecisions.publish(pack_id, texts, by, reason))

    def revise(
        self,
        pack_id: str,
        texts: PromptTexts,
        by: str | None,
        expected_version: int | None = None,
        reason: str | None = None,
    ) -> int:
        pack = self.pack(pack_id)
        pack.revise(texts, by, expected_version, reason)
        return self._decided(pack)

    def retire(self, pack_id: str, reason: str, by: str | None) -> int:
        pack = self.pack(pack_id)
        pack.retire(reason, by)
        return self._decided(pack)

    def pack(self, pack_id: str) -> PackDecisions:
        try:
            found: PackDecisions = self.repository.get(pack_id)
        except AggregateNotFoundError:
            raise PromptPackNotFound(
                f"There is no prompt pack {pack_id!r}", fix="Correct the id, or publish it"
            ) from None
        return found

    def construct_mapper(self) -> Mapper[str]:
        return _PayloadMapper(self.construct_transcoder())

    def construct_recorder(self) -> ApplicationRecorder:
        assert isinstance(self.factory, DaichoFactory)
        return _PackRecorder(self.factory.datastore, self.factory.application)

    def _decided(self, pack: PackDecisions) -> int:
        """The pack's newest version, durable."""
        try:
            self.save(pack)
        except RecordConflict as error:
            raise _conflict(pack) from error
        except InvalidStoredEvent as error:
            raise InvalidPromptPack(
                f"Prompt pack {pack.id!r} is too large for one event",
                expected=error.expected,
                found=error.found,
                fix="Split it into several packs; nothing was recorded",
            ) from error
        return pack.newest


def _conflict(pack: PackDecisions) -> PromptPackConflict:
    if pack.version == 1:
        return PromptPackConflict(
            f"There is a prompt pack {pack.id!r} already",
            expected="an id that was never published, not even for a pack that is retired",
            fix="Revise it, or publish under another id; nothing was recorded",
        )
    return PromptPackConflict(
        f"Somebody else decided about prompt pack {pack.id!r} at the same time",
        expected=f"{pack.version - 1} decisions before this one",
        fix="Load it again and decide anew; nothing of this call was recorded",
    )


class _PackRecorder(DaichoApplicationRecorder):
    """A version whose payload was erased still counts, and the pack can still be revised and retired."""

    def state_of(self, state: bytes | None, originator_id: UUID | str, version: int) -> bytes:
        return b"{}" if state is None else state


class _PayloadMapper(Mapper[str]):
    """What the envelope says (stream, version, time) is not said again in the payload."""

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        said = vars(domain_event)
        payload = {
            key: value for key, value in said.items() if key not in _OF_THE_LIBRARY and value is not None
        }
        return StoredEvent(
            said["originator_id"],
            said["originator_version"],
            get_topic(type(domain_event)),
            orjson.dumps(orjson.loads(self.transcoder.encode(payload)), option=orjson.OPT_SORT_KEYS),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        event: Any = super().to_domain_event(stored_event)
        said = vars(event)
        for optional in ("digest", "by", "descriptions", "reason"):
            said.setdefault(optional, None)
        said["originator_topic"] = get_topic(PackDecisions)
        said["timestamp"] = _UNTOLD  # when it was decided, the recorded event says
        decision: DomainEventProtocol[str] = event
        return decision

"""EventType: the kinds of facts there are, each named as it stands on the wire."""

from enum import StrEnum


class EventType(StrEnum):
    RUN_STARTED = "run.started"
    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    STEP_STARTED = "step.started"
    STEP_SUCCEEDED = "step.succeeded"
    STEP_FAILED = "step.failed"
    STEP_RETRYING = "step.retrying"
    STEP_LOST = "step.lost"
    REPAIR_APPLIED = "repair.applied"
    ARTIFACT_STORED = "artifact.stored"
    PROMPT_PACK_PUBLISHED = "prompt_pack.published"
    PROMPT_PACK_REVISED = "prompt_pack.revised"
    PROMPT_PACK_RETIRED = "prompt_pack.retired"
    PROJECTION_REBUILT = "projection.rebuilt"
    PAYLOAD_ERASED = "payload.erased"
    BLOBS_COLLECTED = "blobs.collected"

    @property
    def is_administrative(self) -> bool:
        """Administrative facts concern the tenant, not a run; they live in the stream `$tenant`."""
        return self in _ADMINISTRATIVE

    @property
    def is_decided(self) -> bool:
        """Decided by an aggregate that knows what was decided before, so it cannot be emitted."""
        return self in _DECIDED

    @property
    def is_of_step(self) -> bool:
        return self.value.startswith("step.")


_ADMINISTRATIVE = frozenset(
    {
        EventType.PROMPT_PACK_PUBLISHED,
        EventType.PROMPT_PACK_REVISED,
        EventType.PROMPT_PACK_RETIRED,
        EventType.PROJECTION_REBUILT,
        EventType.PAYLOAD_ERASED,
        EventType.BLOBS_COLLECTED,
    }
)

_DECIDED = frozenset(
    {EventType.PROMPT_PACK_PUBLISHED, EventType.PROMPT_PACK_REVISED, EventType.PROMPT_PACK_RETIRED}
)

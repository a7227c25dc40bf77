"""Erasures as an auditor sees them: what can no longer be read, since when, by whom and why."""

from datetime import datetime

from ledger.contract.events import RecordedEvent
from projections.audit.answers import Answer
from projections.fold.timeline import Told


class Erasure(Answer):
    """The payload of the event at `position` was erased; `record_position` is that of the
    `payload.erased`. All but the event itself is unknown where the database was tampered with."""

    position: int
    event_type: str
    step_id: str | None
    attempt: int | None
    record_position: int | None = None
    erased_at: datetime | None = None
    erased_by: str | None = None
    erased_reason: str | None = None


def erasure_of(event: Told, record: RecordedEvent | None) -> Erasure:
    erasure = Erasure(
        position=event.position,
        event_type=str(event.event_type),
        step_id=event.step_id,
        attempt=event.attempt,
    )
    if record is None:
        return erasure
    said = record.payload or {}
    return erasure.model_copy(
        update={
            "record_position": record.position,
            "erased_at": record.recorded_at,
            "erased_by": said.get("by"),
            "erased_reason": said.get("reason"),
        }
    )

"""What administrative facts mean: each is an accountable act in the audit log."""

from typing import Any

from ledger.contract.events import EventType, RecordedEvent
from projections.fold.state import RunState


def erased_position(event: RecordedEvent) -> int | None:
    """Where `event` records an erasure: the position of the event whose payload is gone. Whatever was
    folded from that one is no longer true, so its stream has to be folded again."""
    if event.event_type is not EventType.PAYLOAD_ERASED:
        return None
    position = (event.payload or {}).get("position")
    return position if isinstance(position, int) else None


def recorded(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    subject = _text(payload, "pack_id")
    if subject is None and payload.get("position") is not None:
        subject = f"position {payload['position']}"
    state.audit(
        event,
        subject=subject,
        actor=_text(payload, "by"),
        reason=_text(payload, "reason"),
        details=payload or None,
    )


def _text(payload: dict[str, Any], key: str) -> str | None:
    """Not every administrative type knows every one of these keys, and an unknown one is kept with
    whatever it holds: only text may go into a column of text."""
    value = payload.get(key)
    return value if isinstance(value, str) else None

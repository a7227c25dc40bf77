"""What administrative facts mean: each is an accountable act in the audit log."""

from typing import Any

from ledger.contract.events import RecordedEvent
from projections.fold.state import RunState


def recorded(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    subject = payload.get("pack_id")
    if subject is None and payload.get("position") is not None:
        subject = f"position {payload['position']}"
    state.audit(
        event,
        subject=subject,
        actor=payload.get("by"),
        reason=payload.get("reason"),
        details=payload or None,
    )

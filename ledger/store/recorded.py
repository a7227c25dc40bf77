"""Rows of the read statements as RecordedEvents. A module of its own, because worker processes need no more
of the store than this and what they import they wait for."""

from typing import Any

from ledger.contract.events import EVENT_TYPES, RecordedEvent


def recorded_event(tenant_id: str, row: Any) -> RecordedEvent:
    """A row of the read statements as a RecordedEvent."""
    (
        position,
        version,
        recorded_at,
        event_id,
        kind,
        run_id,
        step_id,
        attempt,
        at,
        actor,
        trace,
        schema,
        data,
    ) = row
    # Not by its own constructor, a function written in Python, which takes as long again.
    return tuple.__new__(
        RecordedEvent,
        (
            position,
            version,
            recorded_at,
            event_id,
            EVENT_TYPES.get(kind, kind),
            tenant_id,
            run_id,
            step_id,
            attempt,
            at,
            actor,
            trace,
            schema,
            data,
        ),
    )

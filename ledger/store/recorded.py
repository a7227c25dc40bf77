"""Rows of the read statements as RecordedEvents. A module of its own, because worker processes need no more
of the store than this and what they import they wait for."""

from typing import Any

from ledger.contract.events import EVENT_TYPES, RecordedEvent


def recorded_event(tenant_id: str, row: Any) -> RecordedEvent:
    """A row of the read statements as a RecordedEvent."""
    event_type = row[4]
    return RecordedEvent(
        row[0],
        row[1],
        row[2],
        row[3],
        EVENT_TYPES.get(event_type, event_type),
        tenant_id,
        row[5],
        row[6],
        row[7],
        row[8],
        row[9],
        row[10],
        row[11],
        row[12],
    )

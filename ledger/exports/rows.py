"""Rows: events as they are stored, and what every format says of one."""

from base64 import b64encode
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from ledger.contract.events import EVENT_TYPES
from ledger.lifecycle.log_tables import EVENTS
from ledger.store.server import Connection

PAGE_EVENTS = 500
"""Of 64 KiB each they are 32 MB."""


class StoredEvent(NamedTuple):
    """A row of ledger.events, whole."""

    position: int
    version: int
    recorded_at: datetime
    occurred_at: datetime
    event_id: UUID
    attempt: int | None
    schema_version: int
    stream_id: str
    event_type: str
    step_id: str | None
    actor: str | None
    traceparent: str | None
    payload: bytes | None
    salt: bytes | None
    payload_commitment: bytes

    @property
    def is_own(self) -> bool:
        """Whether it is one of the ledger's own, so that its payload is JSON, and not an application's."""
        return self.event_type in EVENT_TYPES


assert StoredEvent._fields == tuple(EVENTS.columns)


@dataclass(frozen=True)
class Selection:
    """Events at positions after `after` and up to `upto`, of one run where it is named."""

    after: int
    upto: int
    run_id: str | None = None


async def pages(connection: Connection, wanted: Selection) -> AsyncGenerator[list[StoredEvent]]:
    """In order of position, which within a run is that of version."""
    columns = ", ".join(EVENTS.columns)
    key = "position" if wanted.run_id is None else "version"
    of_run = "" if wanted.run_id is None else "AND stream_id = $5"
    statement = (
        f"SELECT {columns} FROM ledger.events "  # noqa: S608 - names of our own
        f"WHERE {key} > $1 AND position > $2 AND position <= $3 {of_run} ORDER BY {key} LIMIT $4"
    )
    given = [wanted.after, wanted.upto, PAGE_EVENTS, *([] if wanted.run_id is None else [wanted.run_id])]
    last = -1
    while True:
        rows = [StoredEvent(*row) for row in await connection.fetch(statement, last, *given)]
        if rows:
            yield rows
        if len(rows) < PAGE_EVENTS:
            return
        last = getattr(rows[-1], key)


def said(tenant_id: str, event: StoredEvent) -> dict[str, Any]:
    """What jsonl, csv and parquet say of an event beside its payload."""
    return {
        "position": event.position,
        "version": event.version,
        "event_id": str(event.event_id),
        "event_type": event.event_type,
        "tenant_id": tenant_id,
        "run_id": event.stream_id,
        "step_id": event.step_id,
        "attempt": event.attempt,
        "timestamp": event.occurred_at,
        "recorded_at": event.recorded_at,
        "actor": event.actor,
        "traceparent": event.traceparent,
        "schema_version": event.schema_version,
        "erased": event.payload is None,
    }


def payload_columns(event: StoredEvent) -> dict[str, str | None]:
    """The payload as text where it is the ledger's JSON, else its bytes in base64; its commitment."""
    data = event.payload
    return {
        "payload": data.decode() if data is not None and event.is_own else None,
        "payload_base64": b64encode(data).decode() if data is not None and not event.is_own else None,
        "payload_commitment": event.payload_commitment.hex(),
    }


def line_of(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)

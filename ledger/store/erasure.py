"""Erasing payloads: the one change of the log, made by `ledger.erase_payload_v1` in a role that may do
nothing else. A connection takes that role up for one erasure and is closed."""

import contextlib
from collections.abc import Iterable

import asyncpg

from ledger.contract.erasure import erasure_id
from ledger.contract.events import RecordedEvent
from ledger.errors import ErasureRefused, InvalidErasure, PositionNotReached
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.reader import CLOSE_SECONDS, Reader
from ledger.store.recorded import recorded_event
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

BY_CHARS_MAX = 255
REASON_CHARS_MAX = 2_000
POSITION_MAX = 2**63 - 1

_SQL = load_statements("ledger.store", "queries.sql")


async def erase_payload(
    database: TenantDatabase, position: int, *, by: str, reason: str, deadline_seconds: float = 30.0
) -> RecordedEvent:
    """Erases the payload of the event at `position`; returns the `payload.erased` that records it. Where
    it is erased already, nothing is written and the first record is returned.

    Raises InvalidErasure before anything is sent, PositionNotReached, ErasureRefused (of a record of an
    erasure), StoreUnavailable: then it may have been done, and calling again tells.
    """
    _check("by", by, BY_CHARS_MAX)
    _check("reason", reason, REASON_CHARS_MAX, allowed="\n\t")
    if not 1 <= position <= POSITION_MAX:
        raise _no_position(position)
    connection = await database.connect(Role.ERASER)
    try:
        row = await connection.fetchrow(_SQL["erase_payload"], position, by, reason, timeout=deadline_seconds)
    except POSTGRES_ERRORS as error:
        raise _typed(error, position, database) from error
    finally:
        await _close(connection)
    return recorded_event(database.tenant_id, row)


async def erasures_of(reader: Reader, events: Iterable[RecordedEvent]) -> dict[int, RecordedEvent]:
    """The records of the erasures of those of `events` that are erased, by the erased event's position."""
    erased = {erasure_id(event.event_id): event.position for event in events if event.is_erased}
    if not erased:
        return {}
    rows = await reader.fetch(_SQL["read_by_ids"], list(erased), doing="reading erasures")
    records = [recorded_event(reader.database.tenant_id, row) for row in rows]
    return {erased[record.event_id]: record for record in records}


async def _close(connection: Connection) -> None:
    with contextlib.suppress(*POSTGRES_ERRORS):  # the server is gone: asyncpg has aborted the connection
        await connection.close(timeout=CLOSE_SECONDS)


def _check(name: str, value: str, chars_max: int, allowed: str = "") -> None:
    is_plain = all(char in allowed or _is_plain(char) for char in value)
    if value.strip() and len(value) <= chars_max and is_plain:
        return
    raise InvalidErasure(
        f"An erasure says by whom it is and why, and {name!r} says nothing that can be recorded",
        expected=f"1 to {chars_max} characters of text without control characters",
        found=f"{len(value)} characters: {value[:40]!r}" if value.strip() else "nothing",
        fix="Nothing was erased. Say it",
    )


def _is_plain(char: str) -> bool:
    """No control character (C0, DEL, C1) and no lone surrogate."""
    return char >= " " and not "\x7f" <= char < "\xa0" and not "\ud800" <= char < "\ue000"


def _typed(error: BaseException, position: int, database: TenantDatabase) -> Exception:
    state = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
    if state == "DA003":
        return _no_position(position)
    if state == "DA004":
        return ErasureRefused(
            f"Position {position} holds the record of an erasure, which is never erased",
            fix="Erase the event that it names; nothing was changed",
        )
    return store_error(error, "erasing a payload", database.server.name)


def _no_position(position: int) -> PositionNotReached:
    return PositionNotReached(
        f"There is no position {position}",
        expected="the position of an event, from 1 to the head",
        fix="`daicho timeline RUN` shows a run's positions; nothing was erased",
    )

"""Exporting: a selection of a tenant's events, page by page, into a file in one of the formats."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, Protocol, get_args

from ledger.exports.cloud_events import CloudEvents
from ledger.exports.jsonl import JsonLines
from ledger.exports.openlineage import RunTrace, RunTraces, run_events
from ledger.exports.rows import PAGE_EVENTS, Selection, StoredEvent, line_of, pages
from ledger.exports.tabular import Csv, Parquet
from ledger.lifecycle.progress import Progress, silent
from ledger.store.tenant_database import Role
from ledger.tenant import Tenant
from projections.audit.points import Point
from projections.audit.runs import RunReader
from projections.streams import folded_stream, folded_streams

Format = Literal["jsonl", "csv", "parquet", "cloudevents", "openlineage"]
FORMATS: tuple[Format, ...] = get_args(Format)


class Encoder(Protocol):
    def add(self, events: Sequence[StoredEvent]) -> None: ...

    def close(self) -> None:
        """Writes what is left to write; the file stays open."""


_ENCODERS: dict[str, Callable[[BinaryIO, str], Encoder]] = {
    "csv": Csv,
    "parquet": Parquet,
    "cloudevents": CloudEvents,
}


@dataclass(frozen=True)
class Exported:
    """What was written: `events` of positions after `after` and up to `upto`; of OpenLineage its own."""

    format: Format
    events: int
    after: int
    upto: int
    run_id: str | None


async def export_events(
    tenant: Tenant,
    file: BinaryIO,
    format: Format,
    *,
    run_id: str | None = None,
    since: Any = None,
    until: Any = None,
    progress: Progress = silent,
) -> Exported:
    """Writes the tenant's events, of one run where it is named, from `since` on and up to `until` (positions,
    aware times, Points), into `file`. Raises RunNotFound, PositionNotReached, InvalidPoint, ExtraMissing."""
    runs = RunReader(tenant)
    if run_id is not None:
        await runs.require(run_id)
    after, upto = await runs.bounds(Point.of(since), Point.of(until), await tenant.store.head(), run_id)
    wanted = Selection(after, upto, run_id)
    if format == "openlineage":
        count = await _export_lineage(tenant, file, wanted, progress)
    else:
        count = await _export_rows(tenant, _encoder(format, file, tenant.tenant_id, upto), wanted, progress)
    return Exported(format, count, after, upto, run_id)


def _encoder(format: Format, file: BinaryIO, tenant_id: str, upto: int) -> Encoder:
    if format == "jsonl":
        return JsonLines(file, tenant_id, upto)
    return _ENCODERS[format](file, tenant_id)


async def _export_rows(tenant: Tenant, encoder: Encoder, wanted: Selection, progress: Progress) -> int:
    count, total = 0, wanted.upto - wanted.after if wanted.run_id is None else 0
    progress("exporting", 0, total)
    connection = await tenant.database.connect(Role.READER)
    try:
        async with aclosing(pages(connection, wanted)) as found:
            async for events in found:
                await asyncio.to_thread(encoder.add, events)
                count += len(events)
                progress("exporting", count, total)
        await asyncio.to_thread(encoder.close)
    finally:
        await connection.close()
    return count


async def _export_lineage(tenant: Tenant, file: BinaryIO, wanted: Selection, progress: Progress) -> int:
    """What is counted on the way are the events that were folded; the answer counts what was written."""
    count, folded, told_at = 0, 0, 0
    total = wanted.upto if wanted.run_id is None else 0
    progress("exporting", 0, total)
    async with aclosing(_traces(tenant, wanted)) as traces:
        async for trace in traces:
            told = run_events(tenant.tenant_id, trace)
            lines = [line_of(event) for position, event in told if wanted.after < position <= wanted.upto]
            await asyncio.to_thread(file.write, b"".join(lines))
            count, folded = count + len(lines), folded + len(trace.times)
            if folded - told_at >= PAGE_EVENTS:
                told_at = folded
                progress("exporting", folded, total)
    progress("exporting", folded, total)
    return count


async def _traces(tenant: Tenant, wanted: Selection) -> AsyncGenerator[RunTrace]:
    """Run by run: what each comes to stands fast only at its last event."""
    connection = await tenant.database.connect(Role.READER)
    try:
        if wanted.run_id is not None:
            yield await folded_stream(connection, RunTraces(), tenant.tenant_id, wanted.run_id, wanted.upto)
            return
        async for trace in folded_streams(connection, RunTraces(), tenant.tenant_id, wanted.upto):
            yield trace
    finally:
        await connection.close()

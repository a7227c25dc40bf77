"""Comparing: a range's streams folded, and the rows that the tables hold of the range, byte by byte.

Both are in order of key. Where all bytes are equal, which is nearly always, no row is looked at; where they
are not, each one is, and what differs is named.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ledger.store.server import Connection
from ledger.store.tenant_database import Role, TenantDatabase
from projections.copy_format import HEADER, TRAILER, encoder_of, record_encoder_of
from projections.definition import Projection
from projections.digests import TableDigest
from projections.rows import Row, columns, key_of, to_record
from projections.table_sql import listed, qualified
from projections.verifying.report import DIFFERENCES_MAX, Difference
from projections.workers import Range
from projections.workers.job import Folded
from projections.workers.reading import folded, pages_of_range, reading


@dataclass
class Compared:
    """What came of ranges: digests of the rows found and of the rows folded, and what differs."""

    events: int = 0
    live: dict[type[Row], TableDigest] = field(default_factory=dict)
    folded: dict[type[Row], TableDigest] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    difference_count: int = 0

    def note(self, difference: Difference) -> None:
        self.difference_count += 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(difference)

    def merge(self, other: "Compared") -> None:
        self.events += other.events
        for mine, theirs in ((self.live, other.live), (self.folded, other.folded)):
            for row_type, digest in theirs.items():
                mine.setdefault(row_type, TableDigest()).merge(digest)
        self.differences = (self.differences + other.differences)[:DIFFERENCES_MAX]
        self.difference_count += other.difference_count


@dataclass(frozen=True)
class Compare:
    """The job of a verification's workers, who all look at the same snapshot. Rows of the streams `skipped`
    are not compared."""

    database: TenantDatabase
    projection: Projection[Any]
    row_types: Sequence[type[Row]]
    position: int
    snapshot: str
    skipped: frozenset[str]

    @asynccontextmanager
    async def open(self) -> AsyncIterator["_Comparer"]:
        async with (
            reading(self.database, Role.READER) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{self.snapshot}'")
            yield _Comparer(self, connection)


class _Comparer:
    def __init__(self, job: Compare, connection: Connection) -> None:
        self._job = job
        self._connection = connection

    async def perform(self, part: Range, tell: Folded) -> Compared:
        job = self._job
        compared = Compared()

        def count(events: int) -> None:
            compared.events += events
            tell(events)

        rows: dict[type[Row], list[Row]] = {row_type: [] for row_type in job.row_types}
        pages = pages_of_range(self._connection, part, job.position)
        async for state in folded(pages, job.projection, job.database.tenant_id, count):
            if state.run_id not in job.skipped:
                for row in state.take_touched():
                    if type(row) in rows:
                        rows[type(row)].append(row)
        for row_type, of_type in rows.items():
            of_type.sort(key=key_of)
            await self._compare(compared, row_type, of_type, part)
        return compared

    async def _compare(
        self, compared: Compared, row_type: type[Row], expected: Sequence[Row], part: Range
    ) -> None:
        encoded = [encoder_of(row_type)(row) for row in expected]
        digest = TableDigest()
        digest.add(encoded)
        compared.folded[row_type] = digest
        if await self._bytes(row_type, part) == b"".join((HEADER, *encoded, TRAILER)):
            compared.live[row_type] = TableDigest(digest.rows, digest.total)
        else:
            live = await self._records(row_type, part)
            compared.live[row_type] = TableDigest()
            compared.live[row_type].add(map(record_encoder_of(row_type), live))
            _name(compared, row_type, [to_record(row) for row in expected], live)

    async def _bytes(self, row_type: type[Row], part: Range) -> bytes:
        found = bytearray()

        async def take(data: bytes) -> None:
            found.extend(data)

        query, arguments = _select(row_type, part)
        await self._connection.copy_from_query(query, *arguments, output=take, format="binary")
        return bytes(found)

    async def _records(self, row_type: type[Row], part: Range) -> list[tuple[Any, ...]]:
        query, arguments = _select(row_type, part)
        records = await self._connection.fetch(query, *arguments)
        return [tuple(record) for record in records if record["run_id"] not in self._job.skipped]


def _select(row_type: type[Row], part: Range) -> tuple[str, list[str]]:
    condition, arguments = part.condition("run_id")
    names, key = listed(columns(row_type)), listed(row_type.KEY)
    return f"SELECT {names} FROM {qualified(row_type)} WHERE {condition} ORDER BY {key}", arguments


def _name(
    compared: Compared,
    row_type: type[Row],
    expected_records: Sequence[tuple[Any, ...]],
    found_records: Sequence[tuple[Any, ...]],
) -> None:
    table, names = row_type.TABLE, list(columns(row_type))
    places = [names.index(name) for name in row_type.KEY]
    expected = {tuple(record[place] for place in places): record for record in expected_records}
    found = {tuple(record[place] for place in places): record for record in found_records}
    for key in sorted(expected.keys() - found.keys()):
        compared.note(Difference(table, key, "missing"))
    for key in sorted(found.keys() - expected.keys()):
        compared.note(Difference(table, key, "surplus"))
    for key in sorted(expected.keys() & found.keys()):
        if expected[key] != found[key]:
            pairs = zip(names, expected[key], found[key], strict=True)
            differing = tuple(name for name, one, other in pairs if one != other)
            compared.note(Difference(table, key, "differs", differing))

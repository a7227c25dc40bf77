"""RunReader: the events of one run up to a point, a page in memory at a time, or an error that helps."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from ledger.contract.events import EVENT_TYPES, RecordedEvent, decoded_payload
from ledger.contract.names import shown
from ledger.contract.state import GraphState
from ledger.errors import InvalidPoint, PositionNotReached, RunNotFound
from ledger.store.erasure import erasures_of
from ledger.store.event_store import MAX_POSITION
from ledger.store.recorded import recorded_event
from ledger.store.statements import load_statements
from ledger.tenant import Tenant
from projections.audit.collecting import collector_paused
from projections.audit.history import RunHistory
from projections.audit.near import did_you_mean, runs_near
from projections.audit.points import NOW, Point
from projections.audit.sql import SQL
from projections.fold import IN_GRAPH_STATE, GraphStateFold

_SQL = load_statements("ledger.store", "queries.sql")
PAGE_EVENTS = 5_000


class RunReader:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    async def history(self, run_id: str, point: Point = NOW) -> RunHistory:
        """The run folded from its events up to `point`. Raises RunNotFound, PositionNotReached."""
        history = RunHistory.of(self.tenant.tenant_id, run_id)
        with collector_paused():
            async for events in self.pages(run_id, point):
                history.add(events)
        return history

    async def graph_state(self, run_id: str, point: Point = NOW) -> GraphState:
        """Where the run stands, from no more of its events than that takes. Raises as `history` does."""
        folded = GraphStateFold(run_id)
        types = [event_type.value for event_type in IN_GRAPH_STATE]
        with collector_paused():
            async for rows in self._rows(SQL["read_for_graph_state"], run_id, point, PAGE_EVENTS, types):
                for _, event_type, schema_version, step_id, data in rows:
                    kind = EVENT_TYPES[event_type]
                    folded.add(kind, step_id, decoded_payload(kind, schema_version, data) or {})
            return folded.graph_state(self.tenant.tenant_id)

    async def pages(
        self, run_id: str, point: Point = NOW, *, page_events: int = PAGE_EVENTS
    ) -> AsyncIterator[list[RecordedEvent]]:
        """The run's events in order. Raises RunNotFound where it has none, PositionNotReached where it
        has none up to `point`, or the point lies beyond the head."""
        async for rows in self._rows(_SQL["read_stream"], run_id, point, page_events):
            yield [recorded_event(self.tenant.tenant_id, row) for row in rows]

    async def told(
        self, run_id: str, point: Point = NOW
    ) -> AsyncIterator[tuple[list[Any], dict[int, RecordedEvent]]]:
        """What a timeline tells of the run's events, in order, a page at a time, and the records of the
        erasures of those that are erased, by their positions. Raises as `pages` does."""
        async for rows in self._rows(SQL["read_for_timeline"], run_id, point, PAGE_EVENTS):
            erased = [row[0] for row in rows if row[9] is None]
            yield rows, await self._erasures_at(erased) if erased else {}

    async def _rows(
        self, statement: str, run_id: str, point: Point, page_rows: int, *wanted: Any
    ) -> AsyncIterator[list[Any]]:
        """What `statement` reads of the run, a page at a time; its rows hold a `version`."""
        upto = await self.position_of(point, run_id)
        last = MAX_POSITION if upto is None else upto
        version, found = -1, False
        while True:
            rows = await self.tenant.reader.fetch(
                statement, run_id, version, last, *wanted, page_rows, doing="reading events"
            )
            if rows:
                found = True
                yield rows
            if len(rows) < page_rows:
                break
            version = rows[-1]["version"]
        if not found:
            await self._say_nothing_found(run_id, upto)

    async def require(self, run_id: str) -> None:
        """Raises RunNotFound where nothing of the run is recorded."""
        async for _ in self.pages(run_id, page_events=1):
            return

    async def erasures(self, events: list[RecordedEvent]) -> dict[int, RecordedEvent]:
        return await erasures_of(self.tenant.reader, events)

    async def _erasures_at(self, positions: list[int]) -> dict[int, RecordedEvent]:
        tenant = self.tenant
        rows = await tenant.reader.fetch(_SQL["read_positions"], positions, doing="reading erased events")
        return await self.erasures([recorded_event(tenant.tenant_id, row) for row in rows])

    async def position_of(self, point: Point, run_id: str | None = None) -> int | None:
        """The last position that the point takes in; None for now. Raises PositionNotReached."""
        if point.time is not None:
            return await self.position_at(point.time)
        if point.version is not None:
            return await self._position_of_version(run_id, point.version)
        if point.position is not None:
            await self._require_reached(point.position)
        return point.position

    async def bounds(
        self, since: Point, until: Point, last: int, run_id: str | None = None
    ) -> tuple[int, int]:
        """The positions of a range, the first exclusive. Never beyond `last`. Raises InvalidPoint where it
        ends before it begins."""
        upto = await self.position_of(until, run_id)
        after = await self.position_before(since, run_id)
        if upto is not None and since != NOW and _is_backwards(since, until, after, upto):
            raise InvalidPoint(
                f"It begins at {since.in_own_zone} and ends at {until.in_own_zone}, which is before that",
                expected="a beginning that is not after the end",
                fix="Exchange the two",
            )
        return after, last if upto is None else min(upto, last)

    async def position_before(self, since: Point, run_id: str | None = None) -> int:
        """The last position that a range beginning at `since` leaves out; 0 where it leaves out none."""
        if since.time is not None:
            # The log's clock ticks in microseconds.
            return await self.position_at(since.time - timedelta(microseconds=1))
        position = await self.position_of(since, run_id)
        return 0 if position is None else position - 1

    async def projected_position(self) -> int:
        return await self.tenant.projected_position()

    async def position_at(self, time: datetime) -> int:
        """The last position recorded at or before `time`; 0 where none was."""
        position: int | None = await self.tenant.reader.fetchval(
            SQL["position_at"], time, doing="finding a time"
        )
        return position or 0

    async def _position_of_version(self, run_id: str | None, version: int) -> int:
        if run_id is None:
            raise PositionNotReached(
                f"Version {version} of which run?",
                expected="a position or a time",
                fix="Versions count the events of one run, positions those of the tenant",
            )
        reader = self.tenant.reader
        position: int | None = None
        if version <= MAX_POSITION:
            position = await reader.fetchval(SQL["position_of_version"], run_id, version)
        if position is not None:
            return position
        last = await reader.fetchval(SQL["last_version"], run_id)
        if last is None:
            await self._say_nothing_found(run_id, None)
        raise PositionNotReached(
            f"Run {run_id!r} has no version {version}",
            expected=f"a version from 1 to {last}",
            fix="Versions count a run's events; `daicho timeline` shows them",
        )

    async def _require_reached(self, position: int) -> None:
        head = await self.tenant.store.head()
        if not 1 <= position <= head:
            raise PositionNotReached(
                f"There is no position {position}",
                expected=f"a position from 1 to {head}, the head" if head else "a tenant that has events",
                fix="Positions count all of a tenant's events; `daicho timeline` shows a run's",
            )

    async def _say_nothing_found(self, run_id: str, upto: int | None) -> None:
        """Returns where the run has events after all, and none of those that were wanted."""
        first = next(iter(await self.tenant.store.read_run(run_id, limit=1)), None)
        if first is None:
            known = await runs_near(self.tenant.reader, run_id)
            raise RunNotFound(
                f"There is no run {shown(run_id)} of tenant {self.tenant.tenant_id!r}",
                fix=did_you_mean(run_id, known, "`daicho runs` lists them"),
            )
        if upto is not None and upto < first.position:
            raise PositionNotReached(
                f"Run {run_id!r} had no event at that point",
                expected=f"position {first.position} or later ({first.recorded_at.astimezone().isoformat()})",
                fix="Ask for a later point",
            )


def _is_backwards(since: Point, until: Point, after: int, upto: int) -> bool:
    """Between two times that are in order there may be no event, and the range is empty."""
    if since.time is not None and until.time is not None:
        return since.time > until.time
    return after >= upto

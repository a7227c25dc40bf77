"""AuditQueries: answers about one tenant's runs, each folded from its events."""

from datetime import datetime

from ledger.contract.events import RecordedEvent
from ledger.contract.state import GraphState
from ledger.tenant import Tenant
from projections.audit.erasures import Erasure, erasure_of
from projections.audit.points import Point
from projections.audit.runs import RunReader
from projections.audit.state import StateAsOf, graph_state_of, state_as_of
from projections.audit.tables import RunsAsOf, TableAsOf, runs_at, table_at
from projections.audit.timeline import Timeline, TimelineBuilder, TimelineEntry


class AuditQueries:
    """Where a method takes a point, that is a position, an aware datetime or a `Point`; none is now.

    All raise RunNotFound, PositionNotReached, InvalidPoint (a ValueError) and StoreUnavailable.
    """

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._runs = RunReader(tenant)

    async def timeline(self, run_id: str) -> Timeline:
        """Every event of a run in order, and every attempt."""
        builder = TimelineBuilder(self._tenant.tenant_id, run_id)
        entries: list[TimelineEntry] = []
        async for events in self._runs.pages(run_id):
            entries += builder.add(events, await self._runs.erasures(events))
        return builder.timeline(entries)

    async def state_at(
        self,
        run_id: str,
        *,
        position: int | None = None,
        version: int | None = None,
        time: datetime | None = None,
    ) -> GraphState:
        """The run's state, references only: as of a tenant-wide `position`, the run's own `version`, or a
        `time` (by when events were recorded), or, with none of them, now."""
        return graph_state_of(await self._runs.history(run_id, Point(position, version, time)))

    async def state(self, run_id: str, at: int | datetime | Point | None = None) -> StateAsOf:
        """What `state_at` tells, with the point it stands for and what was erased of it."""
        history = await self._runs.history(run_id, Point.of(at))
        return state_as_of(history, await self._erasures(history.erased))

    async def erasures(
        self,
        run_id: str,
        *,
        position: int | None = None,
        version: int | None = None,
        time: datetime | None = None,
    ) -> list[Erasure]:
        """Which of the run's events can no longer be read, since when, by whom and why; of those that
        `state_at` takes in."""
        history = await self._runs.history(run_id, Point(position, version, time))
        return await self._erasures(history.erased)

    async def runs_at(
        self,
        at: int | datetime | Point | None = None,
        *,
        status: str | None = None,
        limit: int = 20,
        after: int | None = None,
    ) -> RunsAsOf:
        """The runs there were at a point and how they stood then, the newest first; `status="running"`
        gives those that were open. At most 1,000 a page; `after` takes the `next` of the page before."""
        return await runs_at(self._runs, Point.of(at), status=status, limit=limit, after=after)

    async def table_at(
        self,
        table: str,
        at: int | datetime | Point | None = None,
        *,
        run_id: str | None = None,
        limit: int = 100,
    ) -> TableAsOf:
        """What a projection table (`runs`, `steps`, `attempts`, …) said at a point: at most `limit` rows
        (10,000) in order of key, of one run where it is given. Raises TableNotFound."""
        return await table_at(self._runs, table, Point.of(at), run_id=run_id, limit=limit)

    async def _erasures(self, erased: list[RecordedEvent]) -> list[Erasure]:
        records = await self._runs.erasures(erased)
        return [erasure_of(event, records.get(event.position)) for event in erased]

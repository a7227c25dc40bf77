"""AuditQueries: answers about one tenant's runs, each folded from its events."""

from datetime import datetime

from ledger.contract.events import RecordedEvent
from ledger.contract.state import GraphState
from ledger.errors import PositionNotReached, RunNotFound
from ledger.store.erasure import erasures_of
from ledger.store.statements import load_statements
from ledger.tenant import Tenant
from projections.audit.erasures import Erasure, erasure_of
from projections.audit.timeline import Timeline, timeline_of
from projections.fold import RunState, fold, graph_state

_SQL = load_statements("projections.audit", "queries.sql")


class AuditQueries:
    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    async def timeline(self, run_id: str) -> Timeline:
        """Every event of a run in order. Raises RunNotFound."""
        events = await self._events(run_id, None)
        records = await erasures_of(self._tenant.reader, events)
        return timeline_of(self._tenant.tenant_id, run_id, events, records)

    async def erasures(
        self, run_id: str, *, position: int | None = None, time: datetime | None = None
    ) -> list[Erasure]:
        """Which of the run's events can no longer be read, since when, by whom and why; of those that
        `state_at` takes in. Raises what it raises."""
        upto = await self._upto(run_id, position, time)
        events = [event for event in await self._events(run_id, upto) if event.is_erased]
        records = await erasures_of(self._tenant.reader, events)
        return [erasure_of(event, records.get(event.position)) for event in events]

    async def state_at(
        self, run_id: str, *, position: int | None = None, time: datetime | None = None
    ) -> GraphState:
        """The run's state, references only: as of a tenant-wide `position`, or of a `time` (aware;
        by when events were recorded), or, with neither, now.

        Raises RunNotFound; PositionNotReached where the point lies beyond the head or before the
        run's first event; ValueError for both at once or a naive time.
        """
        state = RunState(run_id)
        for event in await self._events(run_id, await self._upto(run_id, position, time)):
            fold(state, event)
        return graph_state(state, self._tenant.tenant_id)

    async def _upto(self, run_id: str, position: int | None, time: datetime | None) -> int | None:
        if position is not None and time is not None:
            raise ValueError("a position or a time, not both")
        if time is not None:
            return await self._position_at(run_id, time)
        if position is not None:
            await self._require_reached(position)
        return position

    async def _position_at(self, run_id: str, time: datetime) -> int:
        if time.tzinfo is None:
            raise ValueError(f"time needs a time zone, found the naive {time.isoformat()}")
        return await self._tenant.store.last_position_at(run_id, time)

    async def _require_reached(self, position: int) -> None:
        head = await self._tenant.store.head()
        if not 1 <= position <= head:
            raise PositionNotReached(
                f"There is no position {position}",
                expected=f"a position from 1 to {head}, the head",
                fix="Positions count all of a tenant's events; `daicho timeline` shows a run's",
            )

    async def _events(self, run_id: str, upto: int | None) -> list[RecordedEvent]:
        events = await self._tenant.store.read_run(run_id, upto)
        if events:
            return events
        if upto is not None and (later := await self._tenant.store.read_run(run_id, limit=1)):
            raise PositionNotReached(
                f"Run {run_id!r} had no event at that point",
                expected=f"position {later[0].position} or later ({later[0].recorded_at.isoformat()})",
                fix="Ask for a later point",
            )
        near = await self._tenant.reader.fetch(_SQL["near_runs"], run_id)
        known = ", ".join(repr(row["run_id"]) for row in near)
        raise RunNotFound(
            f"There is no run {run_id!r} of tenant {self._tenant.tenant_id!r}",
            fix=f"Did you mean {known}?" if known else "`daicho runs` lists them",
        )

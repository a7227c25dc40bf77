"""AuditQueries: answers about one tenant's runs, each folded from its events."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

from ledger.contract.events import RecordedEvent
from ledger.contract.state import GraphState
from ledger.tenant import Tenant
from projections.audit import tracing
from projections.audit.collecting import collector_paused
from projections.audit.diff import RunDiff, artifact_changes, diff_of
from projections.audit.erasures import Erasure, erasure_of
from projections.audit.explain import StepExplanation, explanation_of, no_step
from projections.audit.fetching import fetched_change
from projections.audit.lineage import Direction, Lineage
from projections.audit.points import Point
from projections.audit.replay import Replay, replay
from projections.audit.runs import RunReader
from projections.audit.search import SearchPage, Wanted, require_types, search
from projections.audit.state import StateAsOf, state_as_of
from projections.audit.statistics import Source, Statistics, statistics
from projections.audit.tables import RunsAsOf, TableAsOf, runs_at, table_at
from projections.audit.timeline import Timeline, TimelineBuilder, TimelineEntry, as_told

At = int | datetime | Point | None
"""A position, an aware time or a Point; None is now, or, where a range begins, the first event."""


class AuditQueries:
    """Each answer is a pydantic model (docs/audit.md). All methods raise StoreUnavailable; those about one
    run RunNotFound; those that take a point PositionNotReached and InvalidPoint (a ValueError)."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._runs = RunReader(tenant)

    async def timeline(
        self,
        run_id: str,
        at: At = None,
        *,
        step: str | None = None,
        since: At = None,
        errors: bool = False,
    ) -> Timeline:
        """Every event of a run in order, and every attempt, up to a point; of those only what belongs to
        `step`, was recorded `since` a point, or is in trouble (`errors`). Raises StepNotFound."""
        after = await self._runs.position_before(Point.of(since), run_id)
        with collector_paused():
            found, steps = await self._whole_timeline(run_id, Point.of(at))
        if step is not None and step not in steps:
            raise no_step(run_id, step, steps)
        return found.only(step=step, after=after, errors=errors)

    async def _whole_timeline(self, run_id: str, upto: Point) -> tuple[Timeline, Mapping[str, str]]:
        """Everything, and how each step stands. A method of its own, because what it read is gone when it
        returns: the collector, let go on, finds nothing but the answer."""
        builder = TimelineBuilder(self._tenant.tenant_id, run_id)
        entries: list[TimelineEntry] = []
        async for told, erasures in self._runs.told(run_id, upto):
            entries += builder.add(told, erasures)
        return builder.timeline(entries), builder.folded.step_status

    async def follow(
        self, run_id: str, *, step: str | None = None, since: At = None, errors: bool = False
    ) -> AsyncIterator[TimelineEntry]:
        """The entries of a run's timeline, those that are there and those that come, until the run has ended.
        Raises RunNotFound where nothing of it is recorded."""
        after = await self._runs.position_before(Point.of(since), run_id)
        await self._runs.require(run_id)
        builder = TimelineBuilder(self._tenant.tenant_id, run_id)
        async with aclosing(self._tenant.store.subscribe(run_id=run_id)) as events:
            async for event in events:
                [entry] = builder.add([as_told(event)], await self._runs.erasures([event]))
                if entry.is_wanted(step, after, errors):
                    yield entry
                if builder.has_ended:
                    return

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
        return await self._runs.graph_state(run_id, Point(position, version, time))

    async def state(self, run_id: str, at: At = None) -> StateAsOf:
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
        at: At = None,
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
        at: At = None,
        *,
        run_id: str | None = None,
        limit: int = 100,
    ) -> TableAsOf:
        """What a projection table (`runs`, `steps`, `attempts`, …) said at a point: at most `limit` rows
        (10,000) in order of key, of one run where it is given. Raises TableNotFound."""
        return await table_at(self._runs, table, Point.of(at), run_id=run_id, limit=limit)

    async def diff(
        self, run_id: str, a: At = None, b: At = None, *, other: str | None = None, bodies: bool = False
    ) -> RunDiff:
        """What differs between a run at the point `a` and the same run, or `other`, at the point `b`. With
        `bodies`, also what changed inside each artifact that differs, where it is text or JSON."""
        one = await self._runs.history(run_id, Point.of(a))
        another = await self._runs.history(run_id if other is None else other, Point.of(b))
        found = diff_of(one, another)
        if bodies:
            for change in artifact_changes(found):
                if change.a is not None and change.b is not None:
                    change.body = await fetched_change(self._tenant.blobs, change.a, change.b)
        return found

    async def explain(self, run_id: str, step_id: str, *, bodies: bool = False) -> StepExplanation:
        """Everything about one step. With `bodies`, also what each repair changed. Raises StepNotFound."""
        history = await self._runs.history(run_id)
        found = explanation_of(history, step_id, await self._erasures(history.erased))
        if bodies:
            for repair in found.repairs:
                repair.change = await fetched_change(self._tenant.blobs, repair.before, repair.after)
        return found

    async def lineage(
        self, digest_or_path: str, *, direction: Direction = "both", depth: int | None = None
    ) -> Lineage:
        """What an artifact was made from (`up`) and what was made from it (`down`), `depth` artifacts far.
        A digest may be given by its first six digits or more. The tables lead to runs, whose events answer.
        Raises ArtifactNotFound."""
        return await tracing.lineage(self._runs, digest_or_path, direction, depth)

    async def search(
        self,
        *,
        run_id: str | None = None,
        types: Sequence[str] | None = None,
        step_id: str | None = None,
        actor: str | None = None,
        category: str | None = None,
        text: str | None = None,
        since: At = None,
        until: At = None,
        before: int | None = None,
        limit: int = 50,
    ) -> SearchPage:
        """One page of events, the newest first; `before` takes the `next` of the page before. Raises
        InvalidSearch."""
        names = None if types is None else tuple(map(str, types))
        return await search(
            self._runs,
            Wanted(run_id, names, step_id, actor, category, text),
            since=Point.of(since),
            until=Point.of(until),
            before=before,
            limit=limit,
        )

    async def require_types(self, types: Sequence[str]) -> None:
        """Raises InvalidSearch for an event type that neither the ledger nor any recorded event has."""
        await require_types(self._runs, types)

    async def statistics(
        self, *, since: At = None, until: At = None, source: Source = "tables"
    ) -> Statistics:
        """Failures, retries, durations and repairs of a range of time, or of positions. `source="events"`
        folds every event and gives the same numbers."""
        return await statistics(self._runs, since=Point.of(since), until=Point.of(until), source=source)

    async def replay(self, run_id: str, folder: Path, at: At = None) -> Replay:
        """Writes the run's state and bodies as of a point into `folder`. Raises FolderRefused."""
        point = Point.of(at)
        history = await self._runs.history(run_id, point)
        assert history.last is not None
        # What is recorded meanwhile is in none of the three.
        upto = history.last.position
        state = state_as_of(history, await self._erasures(history.erased))
        return await replay(folder, history, state, await self.timeline(run_id, upto), self._tenant.blobs)

    async def _erasures(self, erased: list[RecordedEvent]) -> list[Erasure]:
        records = await self._runs.erasures(erased)
        return [erasure_of(event, records.get(event.position)) for event in erased]

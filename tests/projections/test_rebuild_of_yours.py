"""Projections of your own are rebuilt like daicho's: also where there are no tables yet, or other ones."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
from database_rows import busy_run, connected, update

from ledger import EventType, RecordedEvent, Settings, Tenant
from ledger.control.guards import inspect_tenant
from ledger.errors import ProjectionTablesDiffer
from ledger.store.tenant_database import Role
from projections import Projection, Projector, StreamRows, rebuild, verify
from projections.rebuilding import rebuild as rebuild_module
from projections.rows import Row
from projections.workers import ranges


@dataclass(slots=True, eq=False)
class RunTally(Row):
    TABLE: ClassVar[str] = "tally_runs"
    KEY: ClassVar[tuple[str, ...]] = ("run_id",)

    run_id: str
    events: int = 0


@dataclass(slots=True, eq=False)
class StepTally(Row):
    TABLE: ClassVar[str] = "tally_steps"
    KEY: ClassVar[tuple[str, ...]] = ("run_id", "step")

    run_id: str
    step: str
    failures: int = 0


class Tally(Projection[StreamRows]):
    name = "tally"
    tables = (RunTally, StepTally)

    def new_state(self, run_id: str) -> StreamRows:
        return StreamRows(run_id)

    def fold(self, state: StreamRows, event: RecordedEvent) -> None:
        state.row(RunTally).events += 1
        if event.step_id is not None:
            state.row(StepTally, event.step_id).failures += event.event_type is EventType.STEP_FAILED


@dataclass(slots=True, eq=False)
class WiderTally(StepTally):
    seconds: float = 0.5


class TallyOfNow(Tally):
    version = 2
    tables = (RunTally, WiderTally)

    def fold(self, state: StreamRows, event: RecordedEvent) -> None:
        state.row(RunTally).events += 1
        if event.step_id is not None:
            state.row(WiderTally, event.step_id).failures += event.event_type is EventType.STEP_FAILED


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
async def recorded(tenant: Tenant) -> Tenant:
    for number in range(10):
        await busy_run(tenant, f"run-{number}")
    return tenant


async def _rows(tenant: Tenant, table: str) -> list[tuple[object, ...]]:
    async with connected(tenant, Role.READER) as connection:
        rows = await connection.fetch(f"SELECT * FROM projection.{table} ORDER BY 1, 2")
        return [tuple(row) for row in rows]


async def _follow(tenant: Tenant, projection: Tally) -> None:
    projector = Projector(tenant.store, projection)
    await projector.catch_up()
    await projector.close()


@pytest.mark.parametrize("workers", [0, 2])
async def test_tables_that_are_not_there_are_made(
    recorded: Tenant, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(ranges, "EVENTS_OF_RANGE", 20)

    report = await rebuild(recorded, projection=Tally(), workers=workers)

    assert report.rows == {"tally_runs": 10, "tally_steps": 10}
    assert await _rows(recorded, "tally_runs") == [(f"run-{number}", 8) for number in range(10)]
    assert (await verify(recorded, projection=Tally())).ok
    await busy_run(recorded, "run-3")
    await _follow(recorded, Tally())
    assert (await verify(recorded, projection=Tally())).ok
    assert await inspect_tenant(recorded.database) == []


async def test_tables_of_other_classes_are_replaced_by_new_ones(
    recorded: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _follow(recorded, Tally())
    before = await _rows(recorded, "tally_steps")
    with pytest.raises(ProjectionTablesDiffer):
        await rebuild(recorded, projection=TallyOfNow(), table="tally_steps")
    with pytest.raises(ProjectionTablesDiffer):
        await rebuild(recorded, projection=TallyOfNow(), run_id="run-1")
    whole = rebuild_module.build_indexes

    async def look_and_build(*arguments: object) -> None:
        assert await _rows(recorded, "tally_steps") == before, "the old ones serve until the end"
        assert await inspect_tenant(recorded.database) == []
        await whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rebuild_module, "build_indexes", look_and_build)
    await rebuild(recorded, projection=TallyOfNow())

    assert await _rows(recorded, "tally_steps") == [(*row, 0.5) for row in before]
    assert (await verify(recorded, projection=TallyOfNow())).ok
    await _follow(recorded, TallyOfNow())


async def test_the_projections_do_not_disturb_each_other(recorded: Tenant) -> None:
    await rebuild(recorded)
    await rebuild(recorded, projection=Tally())
    await update(recorded, "DELETE FROM projection.tally_runs")

    assert (await verify(recorded)).ok
    assert not (await verify(recorded, projection=Tally())).ok
    await rebuild(recorded, projection=Tally(), table="tally_runs")
    assert (await verify(recorded, projection=Tally())).ok

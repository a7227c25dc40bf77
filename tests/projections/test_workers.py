"""Work over all streams in processes: ranges that miss nothing, results that do not depend on how many work,
and workers that fail or are killed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from database_rows import busy_run, catch_up, connected, update

from ledger import Settings, Tenant
from ledger.contract.events import RecordedEvent
from ledger.errors import InvalidProjection, ProjectionStopped, WorkerLost
from ledger.store.tenant_database import Role
from projections import rebuild, verify
from projections.core import Core
from projections.fold import RunState
from projections.workers import ranges, ranges_of, spans_of
from projections.workers.reading import streams_of_span
from tests.support.processes import children_of
from tests.support.waiting import eventually

RUNS = 30
ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
async def projected(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Tenant:
    monkeypatch.setattr(ranges, "EVENTS_OF_RANGE", 40)
    for number in range(RUNS):
        await busy_run(tenant, f"run-{number}")
    await catch_up(tenant)
    return tenant


class Stumbling(Core):
    """Cannot fold one event; in a module, so that workers find it."""

    def fold(self, state: RunState, event: RecordedEvent) -> None:
        if event.position == 43:
            raise RuntimeError("what is this?")
        super().fold(state, event)


class Deadly(Core):
    def fold(self, state: RunState, event: RecordedEvent) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


async def test_ranges_hold_every_stream_once(projected: Tenant) -> None:
    async with connected(projected, Role.READER) as connection:
        parts = await ranges_of(connection, 8 * RUNS)
        streams: list[str] = []
        for part in parts:
            condition, arguments = part.condition("stream_id")
            rows = await connection.fetch(
                f"SELECT DISTINCT stream_id FROM ledger.events WHERE {condition}", *arguments
            )
            streams += [row[0] for row in rows]
    assert len(parts) > 3
    assert sorted(streams) == sorted(f"run-{number}" for number in range(RUNS))


async def test_spans_hold_every_stream_once_wherever_its_versions_begin(projected: Tenant) -> None:
    for round_ in range(3):
        for first in (0, 1, 7):
            await _append_stored(projected, f"orders/{first}", first + round_)
            await _append_stored(projected, f"orders/{first}-{round_}", first)
        await busy_run(projected, f"run-{round_}")  # goes on far behind its beginning
        await projected.prompts.publish(f"pack-{round_}", {"outline": "Outline $topic"})
        await rebuild(projected, table="steps")  # leaves a fact in $tenant
    async with connected(projected, Role.READER) as connection:
        head = await connection.fetchval("SELECT position FROM ledger.head")
        parts = spans_of(head)
        streams = [name for part in parts for name in await streams_of_span(connection, part)]
        there = await connection.fetch("SELECT DISTINCT stream_id FROM ledger.events")
    assert len(parts) > 3
    assert [parts[0].after, parts[-1].upto] == [0, head]
    assert sorted(streams) == sorted(row[0] for row in there)
    assert {"$tenant", "$prompt_packs/pack-0", "orders/0", "orders/7"} <= set(streams)


async def _append_stored(tenant: Tenant, stream: str, version: int) -> None:
    """As an application of the eventsourcing library does."""
    async with connected(tenant, Role.WRITER) as connection:
        await connection.execute(
            "SELECT ledger.append_stored_events_v1($1, $2, $3, $4, $5, $6, 'orders', NULL, NULL)",
            [uuid4()], [stream], [version], ["shop:Ordered"], [b"{}"], [bytes(16)],
        )  # fmt: skip


async def test_the_result_does_not_depend_on_how_many_work(projected: Tenant) -> None:
    alone = await verify(projected, workers=0)
    together = await verify(projected, workers=2)
    assert (alone.ok, alone.tables) == (True, together.tables)
    assert alone.events == together.events == 8 * RUNS

    rebuilt = await rebuild(projected, workers=2)
    assert rebuilt.digests == {name: table.live_digest for name, table in alone.tables.items()}
    assert rebuilt.workers == 2


@pytest.mark.parametrize("workers", [0, 1])
async def test_an_event_that_cannot_be_folded_is_named(projected: Tenant, workers: int) -> None:
    for command in (rebuild, verify):
        with pytest.raises(ProjectionStopped, match=r"position 43.*what is this"):
            await command(projected, projection=Stumbling(), workers=workers)
    assert (await verify(projected)).ok


async def test_a_worker_that_is_killed_is_told(projected: Tenant) -> None:
    with pytest.raises(WorkerLost, match="-9"):
        await rebuild(projected, projection=Deadly(), workers=1)
    assert (await verify(projected)).ok


async def test_a_class_that_no_other_process_finds_is_refused(projected: Tenant) -> None:
    class Local(Core):
        pass

    with pytest.raises(InvalidProjection, match="workers=0"):
        await rebuild(projected, projection=Local(), workers=1)
    assert (await rebuild(projected, projection=Local(), workers=0)).events == 8 * RUNS


def test_a_worker_imports_nothing_that_it_does_not_use() -> None:
    """It would wait three times as long before its first event."""
    program = "import sys, projections.workers.process, projections.core, projections.{}; print(*sys.modules)"
    for job in ("rebuilding.filling", "verifying.comparing"):
        done = subprocess.run(
            [sys.executable, "-c", program.format(job)], capture_output=True, text=True, check=True, cwd=ROOT
        )
        imported = set(done.stdout.split())
        assert f"projections.{job}" in imported
        assert imported.isdisjoint({"sqlalchemy", "minio", "structlog", "rich", "alembic", "ledger.tenant"})


def workers_of_this_process() -> list[int]:
    return [
        child
        for child in children_of(os.getpid())
        if b"projections.workers" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


async def test_a_rebuild_that_is_cancelled_takes_its_workers_with_it(projected: Tenant) -> None:
    task = asyncio.create_task(rebuild(projected, workers=2))
    await eventually(workers_of_this_process)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: not workers_of_this_process())
    assert (await rebuild(projected)).events == 8 * RUNS


@pytest.mark.parametrize("run_id", ["", "a", "run-12x", "zz"])
@pytest.mark.parametrize("sample", [None, 1.0])
async def test_a_surplus_row_is_found_in_whichever_range_it_stands(
    projected: Tenant, run_id: str, sample: float | None
) -> None:
    await update(
        projected,
        "INSERT INTO projection.anomalies SELECT $1, 1, 'made_up', 'm', NULL, NULL, recorded_at "
        "FROM projection.anomalies LIMIT 1",
        run_id,
    )
    report = await verify(projected, sample=sample)
    assert [(found.table, found.key[0], found.kind) for found in report.differences] == [
        ("anomalies", run_id, "surplus")
    ]


async def test_a_sample_compares_a_part_and_says_which(
    projected: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.verifying.verify.EVENTS_OF_SAMPLE", 40)
    report = await verify(projected, sample=0.2)
    assert report.ok
    assert 0 < report.sampled < 0.5
    assert 0 < report.events < 8 * RUNS

    await update(projected, "UPDATE projection.steps SET status = 'nonsense'")
    found: Any = await verify(projected, sample=0.2)
    assert not found.ok
    assert 0 < found.difference_count < RUNS


@pytest.mark.parametrize("sample", [0.0, -1.0, 1.5])
async def test_a_sample_is_a_share(tenant: Tenant, sample: float) -> None:
    with pytest.raises(ValueError, match="sample"):
        await verify(tenant, sample=sample)

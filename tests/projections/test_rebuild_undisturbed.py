"""Rebuilds while everything else goes on: writers, a projector, readers of one statement and of one
snapshot."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from database_rows import busy_run, catch_up, connected, live_records

from ledger import Settings, Tenant
from ledger.errors import RebuildBlocked
from ledger.store.server import Connection
from ledger.store.tenant_database import Role
from projections import Projector, rebuild, verify
from projections.rebuilding import rebuild as rebuild_module
from projections.rebuilding import swapping, vacuums
from projections.workers import ranges

COUNTED = ("runs", "steps", "attempts", "artifacts", "audit_logs", "anomalies")
COUNTS = ", ".join(f"(SELECT count(*) FROM projection.{table}) AS {table}" for table in COUNTED)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@asynccontextmanager
async def _busy(tenant: Tenant) -> AsyncIterator[None]:
    """Two writers and a projector, as fast as they can."""
    projector = Projector(tenant.store)
    tasks = [
        asyncio.create_task(projector.run_until_cancelled()),
        *(asyncio.create_task(_write(tenant, name)) for name in "ab"),
    ]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await projector.close()
    assert projector.stopped is None


async def _write(tenant: Tenant, name: str) -> None:
    number = 0
    while True:
        number += 1
        await busy_run(tenant, f"{name}-{number % 50}")
        await asyncio.sleep(0.01)


class Watch:
    """Readers that never see fewer rows than before: nothing here ever takes one away."""

    def __init__(self, tenant: Tenant) -> None:
        self.looks = 0
        self._tenant = tenant

    @asynccontextmanager
    async def all_the_time(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._one_statement()), asyncio.create_task(self._one_snapshot())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                assert isinstance(result, asyncio.CancelledError), result

    async def _one_statement(self) -> None:
        seen = dict.fromkeys(COUNTED, 0)
        async with connected(self._tenant, Role.READER) as reader:
            while True:
                seen = await self._look(reader, seen)

    async def _one_snapshot(self) -> None:
        """Takes its snapshot first and comes to the tables later: they may be others by then."""
        seen = dict.fromkeys(COUNTED, 0)
        async with connected(self._tenant, Role.READER) as reader:
            while True:
                async with reader.transaction(isolation="repeatable_read", readonly=True):
                    await reader.fetch("SELECT 1")
                    await asyncio.sleep(0.03)
                    seen = await self._look(reader, seen)

    async def _look(self, reader: Connection, before: dict[str, int]) -> dict[str, int]:
        seen = dict(await reader.fetchrow(f"SELECT {COUNTS}"))
        assert all(seen[table] >= before[table] for table in COUNTED), (before, seen)
        self.looks += 1
        return seen


@pytest.mark.parametrize("workers", [0, 2])
async def test_readers_never_see_less_and_the_end_is_right(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(ranges, "EVENTS_OF_RANGE", 50)
    watch = Watch(tenant)
    for number in range(40):
        await busy_run(tenant, f"a-{number}")
    async with _busy(tenant), watch.all_the_time():
        reports = [await rebuild(tenant, workers=workers) for _ in range(2 if workers == 0 else 1)]
        looked = watch.looks
        for report in reports:
            assert report.position >= report.rows["runs"] > 0
        async with asyncio.timeout(20):
            while watch.looks < looked + 3:
                await asyncio.sleep(0.01)

    await busy_run(tenant, "last")  # what was in flight when the writers were stopped is recorded before it
    await catch_up(tenant)
    verified = await verify(tenant)
    assert verified.ok, [str(found) for found in verified.differences]
    assert verified.position == await tenant.store.head()


async def test_a_reader_with_an_old_snapshot_is_waited_for(tenant: Tenant) -> None:
    await busy_run(tenant, "run-1")
    await catch_up(tenant)
    async with connected(tenant, Role.READER) as reader:
        transaction = reader.transaction(isolation="repeatable_read", readonly=True)
        await transaction.start()
        await reader.fetch("SELECT 1")
        task = asyncio.create_task(rebuild(tenant))
        await asyncio.sleep(0.7)
        assert not task.done()
        assert dict(await reader.fetchrow(f"SELECT {COUNTS}"))["runs"] == 1
        async with asyncio.timeout(5):  # nobody else waits behind the rebuild that waits
            await busy_run(tenant, "run-2")
            await catch_up(tenant)
            assert len((await live_records(tenant))["runs"]) == 2
        await transaction.rollback()
        report = await task
    assert report.position == 16
    assert (await verify(tenant)).ok


@pytest.mark.parametrize("table", ["runs", "new"])
async def test_a_vacuum_is_waited_for_and_nobody_waits_behind_it(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Its lock goes with reading and writing, not with another of its kind."""
    monkeypatch.setattr(vacuums, "VACUUM_SECONDS_MAX", 1)
    await busy_run(tenant, "run-1")
    await catch_up(tenant)
    indexed, go_on = asyncio.Event(), asyncio.Event()
    whole = rebuild_module.build_indexes

    async def build_and_wait(*arguments: object) -> None:
        await whole(*arguments)  # type: ignore[arg-type]
        indexed.set()
        await go_on.wait()

    monkeypatch.setattr(rebuild_module, "build_indexes", build_and_wait)
    async with connected(tenant, Role.PROJECTOR) as vacuum:
        task = asyncio.create_task(rebuild(tenant))
        await indexed.wait()
        name = table if table == "runs" else (await _leftovers(tenant))[0]
        transaction = vacuum.transaction()
        await transaction.start()
        await vacuum.execute(f'LOCK TABLE projection."{name}" IN SHARE UPDATE EXCLUSIVE MODE')
        go_on.set()
        async with asyncio.timeout(5):
            while not task.done() and await vacuum.fetchval(
                "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            ):
                await asyncio.sleep(0.01)
            await busy_run(tenant, "run-2")
            await catch_up(tenant)
            assert len((await live_records(tenant))["runs"]) == 2
        assert not task.done()
        await transaction.rollback()
        assert (await task).position == 16
    assert (await verify(tenant)).ok


async def test_tables_that_stay_in_use_end_it_and_stay_as_they_are(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swapping, "SWAP_SECONDS_MAX", 0.3)
    await busy_run(tenant, "run-1")
    await catch_up(tenant)
    before = await live_records(tenant)
    async with connected(tenant, Role.READER) as reader, reader.transaction():
        await reader.execute("SELECT * FROM projection.runs")  # its lock is kept to the end

        with pytest.raises(RebuildBlocked):
            await rebuild(tenant)

    assert await live_records(tenant) == before
    assert await _leftovers(tenant) == []
    await rebuild(tenant)


async def test_an_erasure_during_a_rebuild_leaves_nothing_of_what_was_erased(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = await busy_run(tenant, "run-1")
    await busy_run(tenant, "run-2")
    await catch_up(tenant)
    whole = rebuild_module.build_indexes
    erasures = []

    async def build_and_erase(*arguments: object) -> None:
        await whole(*arguments)  # type: ignore[arg-type]
        erasures.append(await tenant.erase_payload(recorded[2].position, by="ada", reason="a name in it"))

    monkeypatch.setattr(rebuild_module, "build_indexes", build_and_erase)
    report = await rebuild(tenant)

    assert report.position == erasures[0].position
    assert (await verify(tenant)).ok
    attempts = (await live_records(tenant))["attempts"]
    assert "no answer" in str(attempts["run-2", "draft", 1])
    assert "no answer" not in str(attempts["run-1", "draft", 1])


async def _leftovers(tenant: Tenant) -> list[str]:
    async with connected(tenant) as connection:
        return [
            row[0]
            for row in await connection.fetch(
                "SELECT relname::text FROM pg_class WHERE relnamespace = 'projection'::regnamespace "
                "AND relname LIKE '$%' AND relkind = 'r' ORDER BY relname"
            )
        ]

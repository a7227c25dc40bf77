"""An autovacuum, PostgreSQL's own and not one that a test plays, holds the tables that a rebuild exchanges:
it is ended, the exchange comes to pass, and who reads meanwhile does not wait behind either."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from database_rows import busy_run, catch_up, connected, update

from ledger import Ledger, Settings, Tenant
from ledger.store.server import Connection
from ledger.store.tenant_database import Role
from projections import rebuild, verify
from projections.rebuilding import rebuild as rebuilding
from projections.rebuilding import swapping
from projections.rebuilding.new_tables import NewTable
from tests.faults.own_server import OwnServer, folder_of_its_own, own_server

# One page, then a rest: it goes on for minutes if nobody ends it.
SLOW = """ALTER TABLE projection.runs SET (
    autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"""
# On more pages than it comes through: none of them is free for others before the transaction has ended.
DEAD_ROWS = """DO $$ BEGIN
    FOR _ IN 1..100 LOOP UPDATE projection.runs SET pipeline = pipeline; END LOOP;
END $$"""
AT_WORK = """SELECT p.relid::regclass::text FROM pg_stat_progress_vacuum AS p
               JOIN pg_stat_activity AS a USING (pid)
              WHERE p.datname = current_database() AND a.backend_type = 'autovacuum worker'"""


@pytest.fixture
def server() -> Iterator[OwnServer]:
    """It looks for work every second, where others do every minute."""
    with (
        folder_of_its_own() as folder,
        own_server(folder / "home", {"autovacuum_naptime": "1s"}) as started,
    ):
        yield started


async def vacuumed(tenant: Tenant) -> list[str]:
    """The tables at which an autovacuum is at work."""
    connection = await tenant.database.server.connect(tenant.database.name)
    try:
        return [row[0] for row in await connection.fetch(AT_WORK)]
    finally:
        await connection.close()


async def tenant_being_vacuumed(ledger: Ledger) -> Tenant:
    await ledger.tenants.create_tenant_db("acme", "Acme")
    tenant = await ledger.tenant("acme")
    for number in range(50):
        await busy_run(tenant, f"run-{number}")
    await catch_up(tenant)
    await update(tenant, SLOW)
    await update(tenant, DEAD_ROWS)
    async with asyncio.timeout(60):
        while "projection.runs" not in await vacuumed(tenant):
            await asyncio.sleep(0.1)
    return tenant


async def longest_look(tenant: Tenant, ended: asyncio.Event) -> float:
    """Of a reader who looks all the time."""
    longest = 0.0
    async with connected(tenant, Role.READER) as reader:
        while not ended.is_set():
            began = time.monotonic()
            assert await reader.fetchval("SELECT count(*) FROM projection.runs") == 50
            longest = max(longest, time.monotonic() - began)
    return longest


async def test_an_autovacuum_is_ended_and_nobody_waits_behind_it(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Ledger.open(Settings(home=server.home, projection="external")) as ledger:
        tenant = await tenant_being_vacuumed(ledger)
        found: list[str] = []
        keep_vacuum_off = swapping.keep_vacuum_off

        async def look_first(connection: Connection, tables: Sequence[NewTable]) -> bool:
            found.extend(await vacuumed(tenant))
            return await keep_vacuum_off(connection, tables)

        monkeypatch.setattr(swapping, "keep_vacuum_off", look_first)
        ended = asyncio.Event()
        looking = asyncio.create_task(longest_look(tenant, ended))
        async with asyncio.timeout(60):
            await rebuild(tenant)
        ended.set()

        assert "projection.runs" in found, "it was over before the exchange: this shows nothing"
        assert await looking < 1
        assert (await verify(tenant)).ok


async def test_it_is_ended_while_the_new_tables_are_filled_already(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Ledger.open(Settings(home=server.home, projection="external")) as ledger:
        tenant = await tenant_being_vacuumed(ledger)
        fill = rebuilding._Rebuild._fill

        async def take_until_it_is_ended(work: Any, *arguments: Any) -> Any:
            digests = await fill(work, *arguments)
            async with asyncio.timeout(15):  # by itself it takes longer
                while "projection.runs" in await vacuumed(tenant):
                    await asyncio.sleep(0.05)
            return digests

        monkeypatch.setattr(rebuilding._Rebuild, "_fill", take_until_it_is_ended)
        await rebuild(tenant)

        assert (await verify(tenant)).ok

"""PostgreSQL dies under load, a backend or the whole of it, and comes back. Emitters recover by
themselves; what they acknowledged is there, once; a subscriber sees all of it, once, in order."""

import asyncio
import os
import signal

import asyncpg
import pytest

from ledger import Ledger, Settings, Tenant
from ledger.errors import StoreUnavailable
from tests.faults.load import Load
from tests.faults.own_server import OwnServer
from tests.support.events import eventually_emitted, everything, fact
from tests.support.waiting import eventually

WRITERS = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%append%'"
TERMINATE = f"SELECT count(pg_terminate_backend(pid)) FROM ({WRITERS}) AS writers"


async def terminate_a_writer(ledger: Ledger, tenant: Tenant) -> int:
    superuser = await ledger.server.connect()
    ended = await superuser.fetchval(TERMINATE, tenant.database.name)
    await superuser.close()
    return int(ended)


async def kill_a_writer(ledger: Ledger, tenant: Tenant) -> int:
    """kill -9 of one backend: the postmaster ends all sessions and recovers from the WAL."""
    superuser = await ledger.server.connect()
    pids = await superuser.fetch(WRITERS, tenant.database.name)
    superuser.terminate()
    for (pid,) in pids[:1]:
        os.kill(pid, signal.SIGKILL)
    return len(pids[:1])


async def kill_often(load: Load, ledger: Ledger, tenant: Tenant, times: int) -> None:
    for kill in [terminate_a_writer, kill_a_writer] * times:
        await load.more()
        async with asyncio.timeout(60):
            ended = 0
            while not ended:
                try:
                    ended = await kill(ledger, tenant)
                except StoreUnavailable:  # still recovering
                    await asyncio.sleep(0.05)
    await load.more()


async def restart_often(load: Load, server: OwnServer, times: int) -> None:
    for how in [signal.SIGKILL, signal.SIGQUIT] * times:  # kill -9; an immediate stop
        await load.more()
        await server.restart(how)
    await load.more()


async def test_a_writers_backend_terminated_and_killed_in_mid_load_costs_nothing(
    harmed: Ledger, acme: Tenant
) -> None:
    async with Load(acme) as load:
        await kill_often(load, harmed, acme, 1)
        await load.stop_and_check()
    assert acme.emitter.figures().retries >= 2


async def test_a_postmaster_killed_or_stopped_at_once_in_mid_load_costs_nothing(
    server: OwnServer, acme: Tenant
) -> None:
    async with Load(acme) as load:
        await restart_often(load, server, 1)
        stored = await load.stop_and_check()
        await acme.wait_projected(len(stored), timeout_seconds=60)  # the projector came back too
    assert acme.emitter.figures().retries >= 2


async def test_while_the_server_is_away_each_emit_fails_at_its_deadline_and_later_it_works(
    server: OwnServer,
) -> None:
    settings = Settings(home=server.home, emit_deadline_seconds=1)
    async with await Ledger.open(settings) as ledger:
        await ledger.tenants.create_tenant_db("acme", "Acme")
        tenant = await ledger.tenant("acme")
        await tenant.emitter.emit(fact(tenant, n=0))
        event = fact(tenant, n=1)
        os.kill(server.postmaster, signal.SIGKILL)
        outcomes = await asyncio.wait_for(
            asyncio.gather(*(tenant.emitter.emit(event) for _ in range(5)), return_exceptions=True), 60
        )
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes), outcomes
        assert "Retrying may help" in str(outcomes[0])
        with pytest.raises(StoreUnavailable, match="Retrying may help"):
            await tenant.store.head()
        await eventually(server.is_vacant, 60)
        await asyncio.to_thread(server.start)

        recorded = await eventually_emitted(tenant, event)

        assert recorded == 2
        assert [stored.event_id for stored in await everything(tenant)][1:] == [event.event_id]


@pytest.mark.torture
async def test_two_processes_worth_of_writers_outlast_many_deaths_of_all_kinds(
    server: OwnServer, harmed: Ledger, acme: Tenant
) -> None:
    settings = Settings(home=server.home, emit_deadline_seconds=90, projection="external")
    async with await Ledger.open(settings) as another:
        rival = await another.tenant("acme")  # it appends too: both release the head's lock early
        async with Load(acme, rival, writers=24) as load:
            for _ in range(4):
                await kill_often(load, harmed, acme, 2)
                await restart_often(load, server, 1)
            stored = await load.stop_and_check()
            await acme.wait_projected(len(stored), timeout_seconds=60)


@pytest.mark.torture
async def test_many_power_cuts_under_load_take_away_nothing_that_anybody_was_told(
    server: OwnServer, acme: Tenant
) -> None:
    async with Load(acme, writers=24) as load:
        for _ in range(8):
            await load.more(200)
            await server.cut_the_power()
        await load.stop_and_check()


async def test_connections_that_die_while_idle_are_noticed_by_the_next_emit_and_read(
    harmed: Ledger, acme: Tenant
) -> None:
    await acme.emitter.emit(fact(acme))
    assert len(await everything(acme)) == 1
    superuser: asyncpg.Connection = await harmed.server.connect()
    await superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    )
    await superuser.close()
    assert (await acme.emitter.emit(fact(acme))).position == 2
    assert (await acme.emitter.emit(fact(acme))).version == 3

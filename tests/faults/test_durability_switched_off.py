"""A client that sets synchronous_commit=off, for its session or for everybody, is acknowledged no event
that a crash can take away."""

import asyncio
from uuid import UUID

import pytest

from ledger import Ledger, Settings, Tenant
from ledger.store.server import DatabaseServer
from tests.faults.own_server import OwnServer
from tests.faults.witness import assert_the_cut_took_something, call_a_witness, write_as_a_witness
from tests.support.events import everything, fact

OFF = {
    "database": 'ALTER DATABASE "{database}" SET synchronous_commit = off',
    "role": "ALTER ROLE postgres SET synchronous_commit = off",
    "writer": 'ALTER ROLE "{database}_writer" SET synchronous_commit = off',
    "system": "ALTER SYSTEM SET synchronous_commit = off",
}


async def switch_off(server: DatabaseServer, database: str, how: str) -> None:
    superuser = await server.connect()
    await superuser.execute(OFF[how].format(database=database))
    await superuser.execute("SELECT pg_reload_conf()")
    await superuser.close()
    await call_a_witness(server)


async def acknowledged_by(tenant: Tenant, rival: Tenant) -> dict[UUID, int]:
    """Each way of appending: alone, in a group, repeated, and contended by another process."""
    alone = fact(tenant, n=0)
    recorded = [await tenant.emitter.emit(alone)]
    recorded += await tenant.emitter.emit_many([fact(tenant, n=n) for n in range(3)])
    recorded.append(await tenant.emitter.emit(alone))
    for turn in range(6):
        recorded.append(await rival.emitter.emit(fact(rival, "rival", n=turn)))
        recorded.append(await tenant.emitter.emit(fact(tenant, n=turn)))
    many = [fact(one, f"run-{n % 3}", n=n) for n in range(60) for one in (tenant, rival)]
    recorded += await asyncio.gather(
        *(one.emitter.emit(event) for one, event in zip([tenant, rival] * 60, many, strict=True))
    )
    return {event.event_id: event.position for event in recorded}


@pytest.mark.parametrize("how", OFF)
async def test_every_acknowledged_event_survives_the_crash_though_the_client_gave_up_durability(
    server: OwnServer, how: str
) -> None:
    settings = Settings(home=server.home, projection="external", emit_deadline_seconds=60)
    async with await Ledger.open(settings) as first:
        await first.tenants.create_tenant_db("acme", "Acme")
        await switch_off(first.server, (await first.tenant("acme")).database.name, how)
    async with await Ledger.open(settings) as ledger, await Ledger.open(settings) as another:
        tenant, rival = await ledger.tenant("acme"), await another.tenant("acme")
        await asyncio.gather(tenant.emitter.emit(fact(tenant)), rival.emitter.emit(fact(rival)))
        await server.hold_wal_writer()
        acknowledged = await acknowledged_by(tenant, rival)
        await write_as_a_witness(ledger.server)
        await server.cut_the_power()
        await assert_the_cut_took_something(ledger.server)
        stored = {event.event_id: event.position for event in await everything(tenant)}
        assert acknowledged.items() <= stored.items()

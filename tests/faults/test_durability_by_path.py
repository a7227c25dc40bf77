"""Each way into the log is durable by itself when it is acknowledged: it is the last thing before the power
fails, so that no other append's flush stands in for its own. The logins have synchronous_commit off."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ledger import Ledger, RecordedEvent, Settings, Tenant
from ledger.store.tenant_database import Role
from tests.faults.own_server import OwnServer
from tests.faults.witness import assert_the_cut_took_something, call_a_witness, write_as_a_witness
from tests.support.events import everything, fact

Append = Callable[[Tenant, Tenant], Awaitable[list[int]]]


async def alone(tenant: Tenant, _rival: Tenant) -> list[int]:
    return [(await tenant.emitter.emit(fact(tenant))).position]


async def in_a_group(tenant: Tenant, _rival: Tenant) -> list[int]:
    return positions(await tenant.emitter.emit_many([fact(tenant, n=n) for n in range(3)]))


async def with_an_expectation(tenant: Tenant, _rival: Tenant) -> list[int]:
    events = [fact(tenant, "new", n=n) for n in range(2)]
    return positions(await tenant.emitter.emit_many(events, expected_version=0))


async def one_behind_another(tenant: Tenant, _rival: Tenant) -> list[int]:
    many = await asyncio.gather(*(tenant.emitter.emit(fact(tenant, f"run-{n % 5}", n=n)) for n in range(300)))
    return positions(many)


async def contended(tenant: Tenant, rival: Tenant) -> list[int]:
    recorded = [await rival.emitter.emit(fact(rival, "rival"))]
    recorded.append(await tenant.emitter.emit(fact(tenant, n="finds somebody else at it")))
    recorded.append(await tenant.emitter.emit(fact(tenant, n="lets go of the head before the flush")))
    return positions(recorded)


async def decided(tenant: Tenant, _rival: Tenant) -> list[int]:
    await tenant.prompts.publish("house", {"outline": "Outline $topic"})
    return []


async def erased(tenant: Tenant, _rival: Tenant) -> list[int]:
    return [(await tenant.erase_payload(1, by="ada", reason="asked to")).position]


def positions(recorded: list[RecordedEvent]) -> list[int]:
    return [event.position for event in recorded]


@pytest.mark.parametrize(
    "append", [alone, in_a_group, with_an_expectation, one_behind_another, contended, decided, erased]
)
async def test_what_was_acknowledged_last_survives(server: OwnServer, append: Append) -> None:
    settings = Settings(home=server.home, projection="external", emit_deadline_seconds=60)
    async with await Ledger.open(settings) as first:
        await first.tenants.create_tenant_db("acme", "Acme")
        database = (await first.tenant("acme")).database
        superuser = await first.server.connect()
        for role in (Role.WRITER, Role.ERASER):
            await superuser.execute(f'ALTER ROLE "{database.role(role)}" SET synchronous_commit = off')
        await superuser.close()
        await call_a_witness(first.server)
    async with await Ledger.open(settings) as ledger, await Ledger.open(settings) as another:
        tenant, rival = await ledger.tenant("acme"), await another.tenant("acme")
        before = [(await tenant.emitter.emit(fact(tenant, n=n))).position for n in range(2)]
        await server.hold_wal_writer()
        acknowledged = await append(tenant, rival)
        await write_as_a_witness(ledger.server)
        await server.cut_the_power()
        await assert_the_cut_took_something(ledger.server)
        stored = await everything(tenant)
        assert {*before, *acknowledged} <= {event.position for event in stored}
        if append is decided:
            assert (await tenant.prompts.load("house")).version == 1
        if append is erased:
            assert stored[0].data is None

"""Somebody holds the head's lock: for a while, or for good. Statements that PostgreSQL ends are tried
again within the deadline; at the deadline the caller hears of it; nothing hangs and nothing is left over."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ledger import Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import StoreUnavailable
from tests.support.events import assert_gapless, everything, fact

STUCK = """SELECT count(*) FROM pg_stat_activity
            WHERE datname = $1 AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@asynccontextmanager
async def head_held(ledger: Ledger, tenant: Tenant) -> AsyncIterator[None]:
    """By a session that is idle in its transaction."""
    holder = await ledger.server.connect(tenant.database.name, statement_timeout="0", transaction_timeout="0")
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM ledger.head FOR UPDATE")
        yield
    finally:
        holder.terminate()


async def set_for_all_sessions(ledger: Ledger, tenant: Tenant, name: str, value: str) -> None:
    superuser = await ledger.server.connect()
    await superuser.execute(f'ALTER DATABASE "{tenant.database.name}" SET {name} = {value}')
    await superuser.close()


async def stuck_sessions(ledger: Ledger, tenant: Tenant) -> int:
    superuser = await ledger.server.connect()
    stuck = await superuser.fetchval(STUCK, tenant.database.name)
    await superuser.close()
    return int(stuck)


async def emitted_while_held(ledger: Ledger, tenant: Tenant, seconds: float) -> list[RecordedEvent]:
    async with head_held(ledger, tenant):
        emitting = [asyncio.create_task(tenant.emitter.emit(fact(tenant, n=n))) for n in range(10)]
        await asyncio.sleep(seconds)
        assert not [task for task in emitting if task.done()]
    return list(await asyncio.wait_for(asyncio.gather(*emitting), 60))


@pytest.mark.parametrize("limit", ["statement_timeout", "transaction_timeout"])
async def test_an_append_that_postgresql_ends_for_its_time_is_tried_again_until_it_is_recorded(
    ledger: Ledger, tenant: Tenant, limit: str
) -> None:
    await set_for_all_sessions(ledger, tenant, limit, "300")
    acknowledged = await emitted_while_held(ledger, tenant, 1.2)
    assert tenant.emitter.figures().retries >= 1
    await set_for_all_sessions(ledger, tenant, limit, "0")  # for the readers, which come only now
    stored = await everything(tenant)
    assert_gapless(stored)
    assert sorted(acknowledged) == stored


async def test_the_store_says_of_an_append_that_was_ended_that_it_may_be_tried_again(
    ledger: Ledger, tenant: Tenant
) -> None:
    await set_for_all_sessions(ledger, tenant, "statement_timeout", "150")
    async with head_held(ledger, tenant):
        with pytest.raises(StoreUnavailable, match=r"statement timeout.*Retrying may help"):
            await tenant.store.append([fact(tenant)])
    assert await everything(tenant) == []


@pytest.fixture
def impatient_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"emit_deadline_seconds": 1.0})


async def test_while_a_session_holds_the_head_for_good_emits_fail_at_their_deadline_and_then_work(
    ledger: Ledger, tenant: Tenant, impatient_settings: Settings
) -> None:
    async with await Ledger.open(impatient_settings) as impatient:
        waiting = await impatient.tenant(tenant.tenant_id)
        events = [fact(waiting, n=n) for n in range(5)]
        async with head_held(ledger, tenant):
            for _ in range(3):
                begun = time.monotonic()
                outcomes = await asyncio.gather(
                    *(waiting.emitter.emit(event) for event in events), return_exceptions=True
                )
                assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes), outcomes
                assert "lock timeout. The events are recorded once or not at all" in str(outcomes[0])
                assert time.monotonic() - begun < 20
            assert await waiting.store.head() == 0  # readers do not care
            # The appends that were given up do not wait for ever: they would use up all connections.
            async with asyncio.timeout(30):
                while await stuck_sessions(ledger, tenant):
                    await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            recorded = [await waiting.emitter.emit(event) for event in events]
    stored = await everything(tenant)
    assert_gapless(stored)
    assert sorted(recorded) == stored


async def test_closing_does_not_wait_longer_than_the_deadline_for_a_head_that_is_held(
    ledger: Ledger, tenant: Tenant, impatient_settings: Settings
) -> None:
    impatient = await Ledger.open(impatient_settings)
    waiting = await impatient.tenant(tenant.tenant_id)
    async with head_held(ledger, tenant):
        emitting = asyncio.create_task(waiting.emitter.emit(fact(waiting)))
        await asyncio.sleep(0.1)
        await asyncio.wait_for(impatient.close(), 30)
        with pytest.raises(StoreUnavailable):
            await emitting

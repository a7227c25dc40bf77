"""A recorder's subscriptions: nothing missed, nothing twice, and an end when asked."""

import asyncio
from uuid import uuid4

from recorders import fact, recording, stored

from ledger import Tenant
from ledger.store.recorder import (
    DaichoApplicationRecorder,
)
from ledger.store.tenant_database import Role

APPEND = "SELECT ledger.append_stored_events_v1($1, $2, $3, $4, $5, $6, 'Orders', NULL, NULL)"


# Subscriptions


async def test_a_subscription_misses_and_repeats_nothing_while_others_write(tenant: Tenant) -> None:
    expected = 300

    def read(recorder: DaichoApplicationRecorder) -> list[int]:
        found: list[int] = []
        with recorder.subscribe() as subscription:
            for notification in subscription:
                found.append(notification.id)
                if len(found) == expected:
                    break
        return found

    def write(recorder: DaichoApplicationRecorder, order: str) -> list[int]:
        return [p for n in range(100) for p in recorder.insert_events([stored(order, n)]) or ()]

    async def emit() -> None:
        for _ in range(150):
            await tenant.emitter.emit(fact(tenant))

    async with recording(tenant) as recorder, recording(tenant) as other, recording(tenant, "Bills") as bills:
        read_ids, _, _, *written = await asyncio.wait_for(
            asyncio.gather(
                asyncio.to_thread(read, recorder),
                emit(),
                asyncio.to_thread(write, bills, "x"),
                *(asyncio.to_thread(write, (recorder, other)[n % 2], f"order-{n}") for n in range(3)),
            ),
            60,
        )
    assert read_ids == sorted(position for positions in written for position in positions)


async def test_a_subscription_sees_what_another_process_recorded(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        with recorder.subscribe() as subscription:
            coming = asyncio.ensure_future(asyncio.to_thread(next, subscription))
            await asyncio.sleep(0.05)
            connection = await tenant.database.connect(Role.WRITER)
            await connection.execute(APPEND, [uuid4()], ["Orders/a"], [1], ["app:Made"], [b"x"], [bytes(16)])
            await connection.close()
            assert (await asyncio.wait_for(coming, 5)).originator_id == "a"


async def test_a_waiting_subscription_can_be_stopped_from_another_thread(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        subscription = recorder.subscribe()
        waiting = asyncio.ensure_future(asyncio.to_thread(list, subscription))
        await asyncio.sleep(0.05)
        subscription.stop()
        assert await asyncio.wait_for(waiting, 5) == []

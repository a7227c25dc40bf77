"""Appends that are sent one behind the other: those behind one come after it or not at all."""

import asyncio
import os
from datetime import UTC, datetime
from itertools import count

import asyncpg
import pytest

from ledger import Event, Ledger, Settings, Tenant
from ledger.store.append import SALT_BYTES, Group, Outcome, encode_group
from ledger.store.tenant_database import Role
from tests.support.events import assert_gapless, everything

FOLLOWING = """
    SELECT position_
      FROM ledger.append_events_v3(
               ARRAY[gen_random_uuid()], ARRAY['run-1'], ARRAY[-1], ARRAY['step.started'], ARRAY['draft'],
               NULL, NULL, NULL, ARRAY[1::smallint], ARRAY[now()], ARRAY['{}'::bytea], $1, p_follows => $2)"""


def fact(tenant: Tenant, run_id: str = "run-1", **more: object) -> Event:
    said = {"event_type": "step.started", "run_id": run_id, "step_id": "draft", **more}
    return Event.model_validate({"tenant_id": tenant.tenant_id, **said})


class Sent:
    """Groups sent to a store, and what they were answered with."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.answers: list[list[Outcome] | Exception] = []

    async def send(self, *batches: list[Group]) -> list[list[Outcome] | Exception]:
        for batch in batches:
            assert self.tenant.store.send_groups(batch, self.answers.append)
        assert len(self.answers) < len(batches), "all were under way at once"
        async with asyncio.timeout(30):
            while len(self.answers) < len(batches):
                await asyncio.sleep(0.001)
        return self.answers


@pytest.fixture
async def sent(tenant: Tenant) -> Sent:
    """To a store whose connection and statements are made: one event each of run-1 and run-2."""
    await tenant.store.append([fact(tenant)])
    await tenant.store.append([fact(tenant, "run-2"), fact(tenant, "run-2")])
    return Sent(tenant)


def group(tenant: Tenant, *run_ids: str) -> Group:
    return encode_group([fact(tenant, run_id) for run_id in run_ids])


async def test_flights_are_recorded_in_the_order_of_sending_with_the_versions_they_counted_on(
    tenant: Tenant, sent: Sent
) -> None:
    answers = await sent.send(
        [group(tenant, "run-1", "run-2")],
        [group(tenant, "run-3", "run-1"), group(tenant, "run-3")],
        [group(tenant, "run-3"), group(tenant, "run-1")],
        [group(tenant, "run-3", "run-2")],
    )
    outcomes = [outcome for answer in answers if isinstance(answer, list) for outcome in answer]
    told = [event for outcome in outcomes if isinstance(outcome, list) for event in outcome]
    assert told == (await everything(tenant))[3:]
    assert_gapless(await everything(tenant))
    [recorded] = await tenant.store.append([fact(tenant, "run-3")])
    assert recorded.version == 5


async def test_behind_a_flight_that_is_refused_nothing_is_recorded(tenant: Tenant, sent: Sent) -> None:
    [first, *_] = await everything(tenant)
    repeat = encode_group([fact(tenant, event_id=first.event_id), fact(tenant)])
    answers = await sent.send([repeat], [group(tenant, "run-1")], [group(tenant, "run-4", "run-2")])
    assert all(isinstance(answer, Exception) for answer in answers)
    assert len(await everything(tenant)) == 3
    await sent.tenant.store.append([fact(tenant), fact(tenant, "run-2"), fact(tenant, "run-4")])
    assert_gapless(await everything(tenant))


async def test_a_flight_that_counted_on_another_is_refused_where_a_rival_came_between(
    tenant: Tenant, sent: Sent, settings: Settings
) -> None:
    # As many events as the refused flight has, so that positions alone would not tell.
    [first, *_] = await everything(tenant)
    repeat = encode_group([fact(tenant, event_id=first.event_id), fact(tenant)])
    async with await Ledger.open(settings) as another:
        rival = await another.tenant(tenant.tenant_id)
        held = await tenant.database.connect(Role.OWNER)
        async with held.transaction():
            await held.execute("SELECT FROM ledger.head FOR UPDATE")
            assert tenant.store.send_groups([repeat], sent.answers.append)
            assert tenant.store.send_groups([group(tenant, "run-1")], sent.answers.append)
            rivals = asyncio.create_task(rival.store.append([fact(tenant, "run-2"), fact(tenant, "run-2")]))
            await asyncio.sleep(0.1)  # both wait for the head
        await rivals
        async with asyncio.timeout(30):
            while len(sent.answers) < 2:
                await asyncio.sleep(0.001)
        await held.close()
    assert all(isinstance(answer, Exception) for answer in sent.answers)
    assert_gapless(await everything(tenant))


async def test_what_follows_is_known_by_the_last_salt_and_nothing_else_will_do(tenant: Tenant) -> None:
    writer = await tenant.database.connect(Role.WRITER)
    salts = [os.urandom(SALT_BYTES) for _ in range(4)]
    assert await writer.fetchval(FOLLOWING, salts[0], None) == 1
    assert await writer.fetchval(FOLLOWING, salts[1], salts[0]) == 2
    for wrong in (salts[0], salts[3], b""):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await writer.fetchval(FOLLOWING, salts[2], wrong)
        assert refused.value.sqlstate == "DA007"
    await writer.close()
    assert_gapless(await everything(tenant))
    assert await tenant.store.head() == 2


async def test_unawaited_emits_keep_their_order_around_a_repeat(tenant: Tenant) -> None:
    recorded = await tenant.emitter.emit(fact(tenant))
    numbers = count()
    events = [fact(tenant, "run-1", payload={"duration_ms": next(numbers)}) for _ in range(400)]
    events[100] = events[300] = fact(tenant, event_id=recorded.event_id)
    outcomes = await asyncio.gather(*(tenant.emitter.emit(event) for event in events))
    assert [outcome.event_id for outcome in outcomes] == [event.event_id for event in events]
    assert outcomes[100].position == outcomes[300].position == 1
    fresh = [event.event_id for event in events if event.event_id != recorded.event_id]
    assert [event.event_id for event in await everything(tenant)] == [recorded.event_id, *fresh]
    assert_gapless(await everything(tenant))


async def test_every_value_arrives_as_it_was_said(tenant: Tenant) -> None:
    events = [
        fact(tenant, "läufe…🎈", step_id="步", attempt=2**31 - 1, actor="ä" * 255),
        fact(tenant, timestamp=datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        fact(tenant, timestamp=datetime(9999, 12, 29, 23, 59, 59, 999_999, tzinfo=UTC), attempt=1),
        fact(tenant, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01", payload={"worker": '"\\\u2028'}),
        Event(event_type="run.cancelled", run_id="run-2", tenant_id=tenant.tenant_id),
    ]
    recorded = [await tenant.emitter.emit(event) for event in events]
    many = await tenant.emitter.emit_many(
        [Event.model_validate(event.model_dump(exclude={"event_id", "schema_version"})) for event in events]
    )
    assert await everything(tenant) == recorded + many
    for event, one, other in zip(events, recorded, many, strict=True):
        for name in ("run_id", "step_id", "attempt", "actor", "traceparent", "timestamp", "payload"):
            assert getattr(event, name) == getattr(one, name) == getattr(other, name), name

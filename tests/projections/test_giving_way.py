"""Giving way to appends: noticed by the head, and work in turn that comes to the same."""

import asyncio
from asyncio.subprocess import Process
from contextlib import AbstractAsyncContextManager

import pytest
from database_rows import busy_run, catch_up, connected, live_records

from ledger import Settings, Tenant
from projections import rebuild, verify
from projections.rebuilding.new_tables import build_indexes
from projections.workers import Span, giving_way, pool, ranges
from projections.workers.giving_way import Appends
from projections.workers.reading import pages_of_streams, streams_of_span


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


async def test_many_appends_are_seen_between_two_looks_and_so_is_their_end(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_way, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(giving_way, "MANY_EVENTS_PER_SECOND", 0)
    appends = Appends()
    async with connected(tenant) as connection:
        assert not await appends.look(connection), "one look tells nothing"
        await busy_run(tenant, "run-1")
        assert await appends.look(connection)
        assert not await appends.look(connection)


async def test_the_head_is_looked_at_seldom(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving_way, "LOOK_SECONDS", 60.0)
    appends = Appends(are_many=True)
    async with connected(tenant) as connection:
        await appends.look(connection)
    assert await appends.look(connection), "what it knew is what it answers; the connection is closed"


async def test_it_rests_three_times_as_long_as_it_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    rested: list[float] = []

    async def sleep(seconds: float) -> None:
        rested.append(seconds)

    monkeypatch.setattr(giving_way.asyncio, "sleep", sleep)
    await giving_way.rest(1.5)
    assert rested == [4.5]


async def test_several_who_wait_look_at_the_head_by_one_connection(tenant: Tenant) -> None:
    appends = Appends()
    async with connected(tenant) as connection:
        assert await asyncio.gather(*(appends.look(connection) for _ in range(10))) == [False] * 10


async def test_pages_in_turn_hold_the_same_events(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.workers.reading.PAGE_EVENTS", 7)
    for number in range(5):
        await busy_run(tenant, f"run-{number}")
    pauses: list[float] = []

    async def pause(worked_seconds: float) -> None:
        pauses.append(worked_seconds)

    async with connected(tenant) as reader, reader.transaction():
        streams = await streams_of_span(reader, Span(0, 40))
        ahead = [row[0] async for page in pages_of_streams(reader, streams, 40) for row in page]
        in_turn = [row[0] async for page in pages_of_streams(reader, streams, 40, pause) for row in page]
    assert in_turn == ahead
    assert len(ahead) == 40
    assert len(pauses) == 6


async def test_a_rebuild_that_gives_way_comes_to_the_same(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_way, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(giving_way, "MANY_EVENTS_PER_SECOND", -1)
    for number in range(5):
        await busy_run(tenant, f"run-{number}")
    await catch_up(tenant)
    before = await live_records(tenant)
    connections: list[int] = []

    async def counted(given: object, *arguments: object) -> None:
        connections.append(len(given))  # type: ignore[arg-type]
        await build_indexes(given, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("projections.rebuilding.rebuild.build_indexes", counted)
    await rebuild(tenant)

    assert await live_records(tenant) == before
    assert (await verify(tenant)).ok
    assert connections == [1], "indexes are made one by one"


async def test_while_many_append_one_worker_is_enough_and_when_they_stop_others_come(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "EVENTS_OF_RANGE", 8)
    monkeypatch.setattr(pool, "ASK_SECONDS", 0.01)
    for number in range(6):
        await busy_run(tenant, f"run-{number}")
    started: list[int] = []
    begin = pool._worker

    def counted() -> AbstractAsyncContextManager[Process]:
        started.append(1)
        return begin()

    monkeypatch.setattr(pool, "_worker", counted)

    async def always(appends: Appends, connection: object) -> bool:
        return True

    async def until_one_has_begun(appends: Appends, connection: object) -> bool:
        return not started

    for are_many, processes in ((always, 1), (until_one_has_begun, 3)):
        monkeypatch.setattr(Appends, "look", are_many)
        started.clear()
        await rebuild(tenant, workers=3)
        assert len(started) == processes
        assert (await verify(tenant)).ok

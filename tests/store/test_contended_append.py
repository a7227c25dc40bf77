"""Under contention the head's lock goes before the flush. Between the two, a crash may take away what
was committed; then nobody has seen it and nobody was told that it is recorded."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ledger import Event, Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from ledger.store.append import SALT_BYTES
from ledger.store.server import Connection
from ledger.store.tenant_database import Role
from tests.support.processes import children_of

APPEND_UNFLUSHED = """
    SELECT position_
      FROM ledger.append_events_v3(
               ARRAY[$1::uuid], ARRAY[$2], ARRAY[-1], ARRAY[$3], ARRAY[$4], NULL, NULL, NULL,
               ARRAY[1::smallint], ARRAY[now()], ARRAY['{}'::bytea], $5, p_flush => false)"""


@pytest.fixture
def own_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="daicho-crash-"))
    folder.chmod(0o711)
    yield folder / "home"
    shutil.rmtree(folder)


def fact(tenant: Tenant, run_id: str = "run-1") -> Event:
    return Event(event_type="step.started", run_id=run_id, step_id="draft", tenant_id=tenant.tenant_id)


async def append_without_flush(connection: Connection, event: Event) -> int:
    """What append_contended_v3 has done between its two commits."""
    said = (event.event_id, event.run_id, event.event_type, event.step_id, os.urandom(SALT_BYTES))
    position: int = await connection.fetchval(APPEND_UNFLUSHED, *said)
    return position


def kill_the_server(home: Path) -> None:
    """As a power cut does: no process of it gets to write another byte."""
    postmaster = int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    for child in children_of(postmaster):
        os.kill(child, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)


def hold_the_wal_writer(home: Path) -> None:
    """So that only those flush who ask for it."""
    postmaster = int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    for child in children_of(postmaster):
        if b"walwriter" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(child, signal.SIGSTOP)
            return
    raise AssertionError("there is no walwriter to hold")


async def test_a_reader_saw_nothing_that_the_crash_took_away(own_home: Path) -> None:
    seen: dict[int, object] = {}
    async with await Ledger.open(Settings(home=own_home, projection="external")) as ledger:
        await ledger.tenants.create_tenant_db("acme", "Acme")
        tenant = await ledger.tenant("acme")
        writer = await tenant.database.connect(Role.WRITER)
        hold_the_wal_writer(own_home)

        async def tail() -> None:
            async for event in tenant.store.subscribe(0):
                seen[event.position] = event.event_id

        reader = asyncio.create_task(tail())
        for _ in range(300):
            committed = await append_without_flush(writer, fact(tenant))
        while len(seen) < 50:
            await asyncio.sleep(0.01)
            committed = await append_without_flush(writer, fact(tenant))
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader
        for _ in range(50):
            committed = await append_without_flush(writer, fact(tenant))
        writer.terminate()
        kill_the_server(own_home)

    with EmbeddedPostgres.start(own_home):
        async with await Ledger.open(Settings(home=own_home, projection="external")) as ledger:
            store = (await ledger.tenant("acme")).store
            kept = {event.position: event.event_id for event in await store.read(0, 10_000)}

    assert len(kept) < committed, "the crash took something away, or this test would show nothing"
    assert seen == {position: kept.get(position) for position in seen}
    assert sorted(kept) == list(range(1, len(kept) + 1))


async def test_what_was_acknowledged_under_contention_survives_the_crash(own_home: Path) -> None:
    acknowledged: dict[int, object] = {}
    modes: set[bool] = set()
    async with await Ledger.open(Settings(home=own_home, projection="external")) as ledger:
        await ledger.tenants.create_tenant_db("acme", "Acme")
        tenant = await ledger.tenant("acme")
        hold_the_wal_writer(own_home)
        async with await Ledger.open(Settings(home=own_home, projection="external")) as another:
            rival = await another.tenant("acme")

            async def emit(one: Tenant, run_id: str) -> None:
                while True:
                    event = fact(one, run_id)
                    recorded = await one.emitter.emit(event)
                    acknowledged[recorded.position] = event.event_id
                    modes.add(one.store._appender.flights.is_contended)

            both = (tenant, rival)
            emitting = [asyncio.create_task(emit(one, f"run-{n}")) for n in range(4) for one in both]
            while len(acknowledged) < 200:
                await asyncio.sleep(0.01)
            kill_the_server(own_home)
            for task in emitting:
                task.cancel()
            await asyncio.gather(*emitting, return_exceptions=True)

    with EmbeddedPostgres.start(own_home):
        async with await Ledger.open(Settings(home=own_home, projection="external")) as ledger:
            store = (await ledger.tenant("acme")).store
            kept = {event.position: event.event_id for event in await store.read(0, 10_000)}

    assert True in modes, "both writers met each other, so the lock was released early"
    assert acknowledged.items() <= kept.items()


async def test_a_repeat_is_acknowledged_only_when_the_first_recording_is_flushed(own_home: Path) -> None:
    async with await Ledger.open(Settings(home=own_home, projection="external")) as ledger:
        await ledger.tenants.create_tenant_db("acme", "Acme")
        tenant = await ledger.tenant("acme")
        writer = await tenant.database.connect(Role.WRITER)
        await tenant.emitter.emit(fact(tenant))  # the emitter's connection and plans are made
        hold_the_wal_writer(own_home)
        event = fact(tenant)
        await append_without_flush(writer, event)
        recorded = await tenant.emitter.emit(event)
        writer.terminate()
        kill_the_server(own_home)

    with EmbeddedPostgres.start(own_home):
        async with await Ledger.open(Settings(home=own_home, projection="external")) as ledger:
            found = await (await ledger.tenant("acme")).store.find(event.event_id)
    assert found is not None
    assert found.position == recorded.position

"""A subscription over the end of its server: a shutdown or a crash, and a new start."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import Event, Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from ledger.control.embedded.layout import Layout
from ledger.control.embedded.locks import LockFile
from tests.support.waiting import eventually


@pytest.fixture
def home() -> Iterator[Path]:
    """A server of its own: this test stops it. Not pytest's tmp_path, which is closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="daicho-test-"))
    folder.chmod(0o711)
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture
def postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres.start(home) as server:
        yield server


@pytest.fixture
def settings(home: Path, postgres: EmbeddedPostgres) -> Settings:
    return Settings(home=home)


def postmaster(home: Path) -> int:
    return int(Layout.of(home).postmaster_pid.read_text().splitlines()[0])


def is_vacant(home: Path) -> bool:
    """Whether no process of the server lives, on the kernel's word."""
    with LockFile(Layout.of(home).server_lock) as lock:
        return lock.try_exclusive()


async def restart(home: Path, how: signal.Signals) -> None:
    ended = postmaster(home)
    os.kill(ended, how)
    await eventually(lambda: is_vacant(home), 30)
    await asyncio.sleep(0.3)
    # The claims of the fixture and of the ledger still stand; this one starts what they claim.
    (await asyncio.to_thread(EmbeddedPostgres.start, home)).close()
    assert postmaster(home) != ended


async def test_a_server_that_restarts_is_waited_out_and_nothing_is_missed_or_repeated(
    home: Path, ledger: Ledger, tenant: Tenant
) -> None:
    seen: list[int] = []
    acknowledged: list[int] = []

    async def tail() -> None:
        async for event in tenant.store.subscribe(batch=5):
            seen.append(event.position)

    async def write() -> None:
        while True:
            event = Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id="run")
            acknowledged.append((await tenant.emitter.emit(event)).position)
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(tail()), asyncio.create_task(write())]
    for how in (signal.SIGINT, signal.SIGQUIT):  # a fast shutdown; an immediate one, recovered from its WAL
        before = len(acknowledged)
        async with asyncio.timeout(60):
            while len(acknowledged) < before + 20:
                await asyncio.sleep(0.02)
        await restart(home, how)
    before = len(acknowledged)
    async with asyncio.timeout(60):
        while len(acknowledged) < before + 20:
            await asyncio.sleep(0.02)
    tasks[1].cancel()
    await asyncio.wait(tasks[1:])
    # What was in flight when the writer was cancelled comes before this one, if it comes.
    last = Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id="run")
    head = (await tenant.emitter.emit(last)).position
    async with asyncio.timeout(30):
        while len(seen) < head:
            await asyncio.sleep(0.02)
    assert not tasks[0].done()
    tasks[0].cancel()

    assert acknowledged == sorted(acknowledged)
    assert set(acknowledged) <= set(seen)
    assert seen == list(range(1, head + 1))
    await tenant.wait_projected(head)  # the projector came back too

"""The disk is full: a small tmpfs holds everything of a server of its own.

Where only the tables' files cannot grow, PostgreSQL refuses the append and stays up. Where its log (WAL)
cannot grow either it gives up and ends, and somebody has to make room and open a ledger on the home again;
ledgers that are open already go on by themselves then."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ledger import Event, Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import EmbeddedServerError, StoreUnavailable
from tests.faults.own_server import OwnServer, own_server
from tests.support.events import assert_gapless, everything, fact
from tests.support.waiting import eventually

DISK_MIB = 512
LARGE = "x" * 60_000


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            for size in (2**20, 2**12, 1):
                with suppress(OSError):
                    while True:
                        file.write(b"\0" * size)

    def make_room(self) -> None:
        self._ballast.unlink()

    @property
    def room_bytes(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize


@pytest.fixture
def disk(folder: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    home = folder / "home"
    home.mkdir()
    options = f"size={DISK_MIB}m,mode=0711"
    said = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", home], capture_output=True, text=True, check=False
    )
    if said.returncode != 0:
        pytest.skip(f"this machine refuses to mount a tmpfs: {said.stderr.strip()}")
    try:
        yield Disk(home)
    finally:
        subprocess.run(["umount", "--lazy", home], check=True)


@pytest.fixture
def server(disk: Disk) -> Iterator[OwnServer]:
    with own_server(disk.folder, {"shared_buffers": "16MB"}) as started:
        yield started


@pytest.fixture
async def acme(server: OwnServer) -> AsyncIterator[Tenant]:
    settings = Settings(home=server.home, projection="external", emit_deadline_seconds=2)
    async with await Ledger.open(settings) as ledger:
        await ledger.tenants.create_tenant_db("acme", "Acme")
        yield await ledger.tenant("acme")


async def emit_until_full(tenant: Tenant, acknowledged: list[RecordedEvent]) -> tuple[Event, str]:
    """The event that was not acknowledged, and what its caller was told."""
    for turn in range(2_000):
        event = fact(tenant, f"run-{turn % 3}", n=turn, text=LARGE)
        try:
            acknowledged.append(await tenant.emitter.emit(event))
        except StoreUnavailable as error:
            return event, str(error)
    raise AssertionError("the disk was never full")


async def assert_only_what_was_acknowledged(
    tenant: Tenant, acknowledged: list[RecordedEvent], doubtful: Event
) -> None:
    """And all of it; the one that was not may be there, as the last."""
    stored = await everything(tenant)
    assert_gapless(stored)
    assert stored[: len(acknowledged)] == acknowledged
    assert {event.event_id for event in stored[len(acknowledged) :]} <= {doubtful.event_id}


async def test_while_the_tables_cannot_grow_emits_fail_typed_and_with_room_they_work_again(
    disk: Disk, acme: Tenant, server: OwnServer
) -> None:
    acknowledged = [await acme.emitter.emit(fact(acme, n="before"))]
    postmaster = server.postmaster
    disk.fill()
    doubtful, told = await emit_until_full(acme, acknowledged)
    assert "No space left on device" in told
    assert "once or not at all" in told
    assert "Retrying may help" in told
    assert await everything(acme) == acknowledged  # readable all the time, and nothing half there

    disk.make_room()

    acknowledged.append(await emitted(acme, doubtful))
    acknowledged.append(await acme.emitter.emit(fact(acme, n="after")))
    assert await everything(acme) == acknowledged
    assert server.postmaster == postmaster


async def test_a_server_that_ended_because_its_wal_was_full_goes_on_when_it_is_started_with_room(
    disk: Disk, acme: Tenant, server: OwnServer
) -> None:
    acknowledged = [await acme.emitter.emit(fact(acme, n="before"))]
    patient = Settings(home=server.home, projection="external")
    doubtful = await fill_the_wal(disk, acme, server, acknowledged)
    await eventually(server.is_vacant, 60)

    # What users see: an open ledger says that the server is away, one that is being opened says why.
    with pytest.raises(StoreUnavailable, match="Retrying may help"):
        await acme.emitter.emit(doubtful)
    with pytest.raises(StoreUnavailable, match="Retrying may help"):
        await acme.store.head()
    with pytest.raises(EmbeddedServerError, match="No space left on device"):
        await Ledger.open(patient)

    disk.make_room()
    async with await Ledger.open(patient) as opened_again:
        await assert_only_what_was_acknowledged(await opened_again.tenant("acme"), acknowledged, doubtful)
        acknowledged.append(await emitted(acme, doubtful))  # the ledger that was open all the time
        assert await everything(acme) == acknowledged


async def fill_the_wal(
    disk: Disk, tenant: Tenant, server: OwnServer, acknowledged: list[RecordedEvent]
) -> Event:
    superuser = await tenant.database.server.connect()
    disk.fill()
    for turn in range(20):
        # Whatever is left of this segment is given up; the next one needs 16 MiB, or was made before.
        with suppress(Exception):
            await superuser.execute("SELECT pg_switch_wal()")
        event = fact(tenant, f"run-{turn}", n=turn)
        try:
            acknowledged.append(await tenant.emitter.emit(event))
        except StoreUnavailable:
            superuser.terminate()
            return event
    raise AssertionError("the WAL was never full")


async def emitted(tenant: Tenant, event: Event) -> RecordedEvent:
    """As a caller with patience does: the same event again after each StoreUnavailable."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await tenant.emitter.emit(event)
            except StoreUnavailable:
                await asyncio.sleep(0.1)

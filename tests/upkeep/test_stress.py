"""Processes that put, erase and collect at once: the real log, a real folder, and no grace period."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ledger import Event, Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import BlobBeingCollected, CollectionRunning
from ledger.upkeep import collecting
from ledger.upkeep.checking import check_blobs
from ledger.upkeep.collecting import collect_garbage

SECONDS = 45.0
WRITERS = 4
BODIES = 12


async def write(tenant: Tenant, pick: random.Random) -> str:
    """Puts the same few bodies over and over, and erases nearly every event that refers to them. Between a
    put and its event it sleeps, as a process that was stopped would."""
    tenant.emitter.emit = _late(tenant.emitter.emit, pick)  # type: ignore[method-assign]
    refused = puts = 0
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        body = f"body {pick.randrange(BODIES)} ".encode() * 100
        path = f"storage/{tenant.tenant_id}/run/step/{uuid4().hex}"
        try:
            ref = await tenant.artifacts.put(body, path)
        except BlobBeingCollected:
            refused += 1
            continue
        puts += 1
        assert await tenant.artifacts.get(ref) == body
        await _erase_old(tenant, keep=pick.randrange(3))
    return f"{puts} puts, {refused} refused"


def _late(
    emit: Callable[[Event], Awaitable[RecordedEvent]], pick: random.Random
) -> Callable[[Event], Awaitable[RecordedEvent]]:
    async def late(event: Event) -> RecordedEvent:
        await asyncio.sleep(pick.random() * 0.2)
        return await emit(event)

    return late


async def _erase_old(tenant: Tenant, keep: int) -> None:
    head = await tenant.store.head()
    recent = await tenant.store.read_last(200, upto=head, types=["artifact.stored"])
    for event in [each for each in recent if not each.is_erased][: -keep or None]:
        await tenant.erase_payload(event.position, by="stress", reason="to make garbage")


async def collect(tenant: Tenant, pick: random.Random) -> str:
    collecting.SILENT_SECONDS = 2.0  # whoever was killed on this machine deletes nothing any more
    deleted = runs = 0
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            deleted += (await collect_garbage(tenant, grace_seconds=0)).deleted
            runs += 1
        except CollectionRunning:
            await asyncio.sleep(0.05 * pick.random())
    return f"{deleted} deleted in {runs} runs"


async def child(home: str, tenant_id: str, work: str, seed: str) -> None:
    async with await Ledger.open(Settings(home=Path(home), projection="external")) as ledger:
        done: Callable[[Tenant, random.Random], Any] = {"write": write, "collect": collect}[work]
        print(work, await done(await ledger.tenant(tenant_id), random.Random(seed)), flush=True)


@pytest.mark.torture
async def test_whatever_is_killed_no_event_refers_to_a_blob_that_is_not_there(
    tenant: Tenant, home: Path
) -> None:
    async def start(work: str, seed: int) -> asyncio.subprocess.Process:
        command = [sys.executable, __file__, str(home), tenant.tenant_id, work, str(seed)]
        return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)

    writers = [await start("write", seed) for seed in range(WRITERS)]
    killed = 0
    until = time.monotonic() + SECONDS
    try:
        while time.monotonic() < until:
            collector = await start("collect", killed)
            await asyncio.sleep(random.uniform(3, 12))
            killed += await _killed(collector)
            assert (await check_blobs(tenant)).bad == []
        said = [(await writer.communicate())[0].decode() for writer in writers]
    finally:
        for writer in writers:
            await _killed(writer)
    assert [writer.returncode for writer in writers] == [0] * WRITERS, said
    report = await check_blobs(tenant)
    assert report.ok
    events = await tenant.store.read_last(10_000, upto=await tenant.store.head(), types=["blobs.collected"])
    deleted = sum((event.payload or {})["deleted"] for event in events)
    print(*said, f"{killed} collectors killed, {deleted} blobs deleted, as recorded", sep="\n")
    assert killed > 2
    assert deleted > 20


async def _killed(process: asyncio.subprocess.Process) -> bool:
    """False where it had ended by itself."""
    if process.returncode is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    return True


if __name__ == "__main__":
    asyncio.run(child(*sys.argv[1:]))

"""Who leads a tenant: one at a time, fairly shared, and another when it is gone."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from database_rows import busy_run
from followers import following, hurry, until

from ledger import Ledger, Settings, Tenant
from ledger.errors import TenantNotFound
from projections import verify
from projections.following import follower
from projections.following.leadership import Leadership, leaders


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


# Leading


@asynccontextmanager
async def leading(ledger: Ledger, group: str) -> AsyncIterator[Leadership]:
    found = Leadership(ledger.server, group)
    await found.open(lambda: None)
    try:
        yield found
    finally:
        found.close()


async def test_a_tenant_has_one_leader_and_those_who_follow_the_same_share_fairly(ledger: Ledger) -> None:
    group = uuid4().hex
    tenants = {f"{group}-{number}" for number in range(10)}
    async with leading(ledger, group) as one:
        assert await one.take(tenants) == tenants
        async with leading(ledger, group) as other:
            assert await other.take(tenants) == set()
            surplus = await one.surplus(tenants)
            assert len(surplus) == 5
            for tenant_id in surplus:
                await one.cease(tenant_id)
            assert await one.take(tenants) == set()  # the other is to have them
            assert await other.take(tenants) == surplus
            assert await one.surplus(tenants) == set()
            named = await leaders(ledger.server, tenants)
            assert named.keys() == tenants
            assert set(named.values()) == {f"{os.uname().nodename}:{os.getpid()}"[:49]}


async def test_a_tenant_that_nobody_takes_is_taken_beyond_the_share(ledger: Ledger) -> None:
    group = uuid4().hex
    tenants = {f"{group}-{number}" for number in range(4)}
    async with leading(ledger, group) as one, leading(ledger, group):
        for _ in range(3):
            await one.take(tenants)
        assert len(one.led) == 2  # half of them, and the other takes none
        await one.take(tenants)
        assert one.led == tenants


async def test_tenants_that_are_not_followed_any_more_are_given_up(ledger: Ledger) -> None:
    group = uuid4().hex
    async with leading(ledger, group) as one:
        await one.take({f"{group}-a", f"{group}-b"})
        assert await one.surplus({f"{group}-a"}) == {f"{group}-b"}


async def test_a_leader_that_loses_its_connection_leads_nothing(ledger: Ledger) -> None:
    group = uuid4().hex
    lost = asyncio.Event()
    one = Leadership(ledger.server, group)
    await one.open(lost.set)
    await one.take({group})
    connection = await ledger.server.connect()
    await connection.execute(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l, hashtextextended('daicho.follow:' || $1, 0) k "
        "WHERE l.locktype = 'advisory' AND l.objid = (k & 4294967295)::oid",
        group,
    )
    await connection.close()
    async with asyncio.timeout(10):
        await lost.wait()
    assert not one.is_held
    async with leading(ledger, group) as other:
        assert await other.take({group}) == {group}


async def test_a_follower_that_lost_the_control_database_for_a_moment_goes_on(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "PAUSE_SECONDS", 0.05)
    heard: list[str] = []
    async with following(ledger, tenant) as found:
        found.changed = lambda _tenant_id, what: heard.append(what)

        async def leads() -> bool:
            return heard[-1:] == ["leading"]

        await until(leads)
        connection = await ledger.server.connect()
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks l, hashtextextended('daicho.follow:' || $1, 0) k "
            "WHERE l.locktype = 'advisory' AND l.objid = (k & 4294967295)::oid",
            tenant.tenant_id,
        )
        await connection.close()

        async def leads_again() -> bool:
            return heard == ["leading", "left", "leading"]

        await until(leads_again)
        recorded = await busy_run(tenant, "run-1")
        await tenant.wait_projected(recorded[-1].position)


async def test_a_tenant_that_is_not_there_is_named_at_once(ledger: Ledger) -> None:
    with pytest.raises(TenantNotFound, match="'nobody'"):
        await ledger.follower(["nobody"]).run_until_cancelled()


async def test_a_suspended_tenant_is_left_and_taken_up_again(ledger: Ledger, tenant: Tenant) -> None:
    heard: list[str] = []
    async with following(ledger, tenant) as found:
        found.changed = lambda _tenant_id, what: heard.append(what)

        async def has_heard(*words: str) -> bool:
            return tuple(heard) == words

        await until(lambda: has_heard("leading"))
        await ledger.tenants.suspend(tenant.tenant_id)
        await until(lambda: has_heard("leading", "left"))
        await ledger.tenants.resume(tenant.tenant_id)
        await until(lambda: has_heard("leading", "left", "leading"))


# Processes


class Process:
    """`daicho follow` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return (await self.process.stdout.readline()).decode().strip()


@asynccontextmanager
async def follow_process(home: Path, *arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ledger.cli import main; main()", "follow", *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "DAICHO_HOME": str(home)},
    )  # fmt: skip
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_when_a_leader_is_killed_another_process_takes_over_within_seconds(
    home: Path, ledger: Ledger, tenant: Tenant
) -> None:
    named = ("-t", tenant.tenant_id)
    async with follow_process(home, *named) as leader:
        assert await leader.line() == f"leading {tenant.tenant_id}"
        async with follow_process(home, *named) as other:
            recorded = await busy_run(tenant, "run-1")
            await tenant.wait_projected(recorded[-1].position)
            leader.process.send_signal(signal.SIGKILL)
            assert await other.line() == f"leading {tenant.tenant_id}"
            later = await busy_run(tenant, "run-2")
            await tenant.wait_projected(later[-1].position)
            other.process.send_signal(signal.SIGTERM)
            assert await other.line() == f"left {tenant.tenant_id}"
            assert await other.process.wait() == 0
    assert (await verify(tenant)).ok

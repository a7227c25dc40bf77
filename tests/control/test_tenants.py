"""Tenants: made once, whoever asks how often and whatever interrupts it; suspended, resumed, read."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import text

from ledger import Event, Ledger, Settings
from ledger.control import provisioning
from ledger.control.catalogue import Catalogue
from ledger.errors import MigrationNeeded, TenantConflict, TenantNotFound, TenantSuspended
from ledger.store.tenant_database import Role, TenantDatabase


@pytest.fixture
def tenant_id() -> str:
    return f"t-{uuid4().hex[:12]}"


async def works(ledger: Ledger, tenant_id: str) -> None:
    tenant = await ledger.tenant(tenant_id)
    recorded = await tenant.emitter.emit(Event(event_type="run.cancelled", tenant_id=tenant_id, run_id="r"))
    await tenant.wait_projected(recorded.position)
    assert recorded.position == 1


async def databases_and_roles(ledger: Ledger, name: str) -> tuple[int, int]:
    connection = await ledger.server.connect()
    databases = await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name)
    roles = await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname LIKE $1", f"{name}%")
    await connection.close()
    return databases, roles


async def test_made_again_it_is_the_same_database(ledger: Ledger, tenant_id: str) -> None:
    name = await ledger.tenants.create_tenant_db(tenant_id, "Acme Inc.")
    await works(ledger, tenant_id)
    assert await ledger.tenants.create_tenant_db(tenant_id, "Acme Inc.") == name
    assert await (await ledger.tenant(tenant_id)).store.head() == 1
    assert await databases_and_roles(ledger, name) == (1, len(Role))


async def test_the_databases_name_says_nothing_of_the_tenant(ledger: Ledger, tenant_id: str) -> None:
    name = await ledger.tenants.create_tenant_db(tenant_id, "Acme Inc.")
    assert len(name) == 34
    assert tenant_id.removeprefix("t-") not in name


async def test_under_another_name_it_is_a_conflict(ledger: Ledger, tenant_id: str) -> None:
    await ledger.tenants.create_tenant_db(tenant_id, "Acme Inc.")
    with pytest.raises(TenantConflict, match=r"'Acme Inc\.'.*'Other Inc\.'"):
        await ledger.tenants.create_tenant_db(tenant_id, "Other Inc.")


async def test_two_tasks_and_another_ledger_at_once_make_one_database(
    ledger: Ledger, settings: Settings, tenant_id: str
) -> None:
    async with await Ledger.open(settings) as elsewhere:
        names = await asyncio.gather(
            *(each.tenants.create_tenant_db(tenant_id, "Acme") for each in [ledger, elsewhere] * 2)
        )
    assert len(set(names)) == 1
    assert await databases_and_roles(ledger, names[0]) == (1, len(Role))
    await works(ledger, tenant_id)


async def test_upper_and_lower_case_are_different_tenants(ledger: Ledger, tenant_id: str) -> None:
    lower = await ledger.tenants.create_tenant_db(tenant_id, "Lower")
    upper = await ledger.tenants.create_tenant_db(tenant_id.upper(), "Upper")
    assert lower != upper


class Interrupted(BaseException):
    """What a cancellation or a signal looks like from inside."""


async def _before(*_args: Any, **_options: Any) -> None:
    raise Interrupted


def _after(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[None]]:
    async def interrupted(*args: Any) -> None:
        await work(*args)
        raise Interrupted

    return interrupted


STEPS: dict[str, tuple[object, str, Callable[..., Awaitable[Any]]]] = {
    "before the roles": (provisioning, "make_roles", _before),
    "after the roles": (provisioning, "make_roles", _after(provisioning.make_roles)),
    "after the database": (provisioning, "_make_database", _after(provisioning._make_database)),
    "after the adoption": (provisioning, "adopt", _after(provisioning.adopt)),
    "after the identity": (provisioning, "_claim", _after(provisioning._claim)),
    "before the activation": (Catalogue, "activate", _before),
}


@pytest.mark.parametrize("where", STEPS)
async def test_interrupted_it_is_no_tenant_yet_and_the_next_call_finishes_it(
    ledger: Ledger, tenant_id: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as fault, pytest.raises(Interrupted):  # noqa: PT012
        fault.setattr(*STEPS[where])
        await ledger.tenants.create_tenant_db(tenant_id, "Acme")

    for way in (ledger.tenant, ledger.tenants.get_connection, ledger.tenants.suspend, ledger.tenants.resume):
        with pytest.raises(TenantNotFound, match="interrupted creation"):
            await way(tenant_id)

    name = await ledger.tenants.create_tenant_db(tenant_id, "Acme")
    assert await databases_and_roles(ledger, name) == (1, len(Role))
    await works(ledger, tenant_id)


async def test_a_cancelled_creation_frees_its_lock_and_is_finished_later(
    ledger: Ledger, tenant_id: str
) -> None:
    for seconds in (0.0, 0.005, 0.02, 0.05, 0.1):
        task = asyncio.create_task(ledger.tenants.create_tenant_db(tenant_id, "Acme"))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(30):
        await ledger.tenants.create_tenant_db(tenant_id, "Acme")
    await works(ledger, tenant_id)


KILLED_CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from ledger import Ledger, Settings
from ledger.control import provisioning

async def die(*_args):
    os.kill(os.getpid(), signal.SIGKILL)

provisioning.adopt = die

async def main():
    async with await Ledger.open(Settings(home=Path(sys.argv[1]))) as ledger:
        await ledger.tenants.create_tenant_db(sys.argv[2], "Acme")

asyncio.run(main())
"""


async def test_killed_with_signal_9_half_way_it_is_finished_by_the_next_call(
    ledger: Ledger, home: Path, tenant_id: str
) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED_CHILD, str(home), tenant_id),
        stderr=subprocess.DEVNULL,
        env={**os.environ},
    )
    assert await child.wait() == -signal.SIGKILL
    [half_made] = [record for record in await ledger.tenants.list() if record.tenant_id == tenant_id]
    assert half_made.status == "creating"
    assert await databases_and_roles(ledger, half_made.database_name) == (1, len(Role))

    async with asyncio.timeout(30):
        assert await ledger.tenants.create_tenant_db(tenant_id, "Acme") == half_made.database_name
    await works(ledger, tenant_id)


async def test_a_suspended_tenant_takes_no_work_and_stays_readable(ledger: Ledger, tenant_id: str) -> None:
    await ledger.tenants.create_tenant_db(tenant_id, "Acme")
    await works(ledger, tenant_id)
    await ledger.tenants.suspend(tenant_id)
    with pytest.raises(TenantSuspended, match=rf"daicho tenant resume {tenant_id}.*Retrying will not help"):
        await ledger.tenant(tenant_id)
    async with await ledger.tenants.get_connection(tenant_id) as session:
        assert (await session.execute(text("SELECT count(*) FROM ledger.events"))).scalar_one() == 1
    await ledger.tenants.create_tenant_db(tenant_id, "Acme")  # a repetition does not resume it
    with pytest.raises(TenantSuspended):
        await ledger.tenant(tenant_id)
    await ledger.tenants.resume(tenant_id)
    assert (await ledger.tenant(tenant_id)).tenant_id == tenant_id


async def test_a_session_is_in_the_readers_role(ledger: Ledger, tenant_id: str) -> None:
    name = await ledger.tenants.create_tenant_db(tenant_id, "Acme")
    async with await ledger.tenants.get_connection(tenant_id) as session:
        row = (await session.execute(text("SELECT current_database(), current_user"))).one()
        assert tuple(row) == (name, f"{name}_reader")
        with pytest.raises(Exception, match="permission denied"):
            await session.execute(text("DELETE FROM projection.runs"))


async def test_a_tenants_handle_is_the_same_each_time(ledger: Ledger, tenant_id: str) -> None:
    await ledger.tenants.create_tenant_db(tenant_id, "Acme")
    handles = await asyncio.gather(*(ledger.tenant(tenant_id) for _ in range(5)))
    assert len(set(map(id, handles))) == 1


async def test_no_tenants_role_enters_another_tenants_database(ledger: Ledger, tenant_id: str) -> None:
    await ledger.tenants.create_tenant_db(tenant_id, "One")
    await ledger.tenants.create_tenant_db(f"{tenant_id}-2", "Two")
    one = (await ledger.tenant(tenant_id)).database
    two = (await ledger.tenant(f"{tenant_id}-2")).database
    intruder = TenantDatabase(one.tenant_id, two.name, one.server)
    connection = await ledger.server.connect()
    for role in ("owner", "writer", "projector", "reader"):
        may = await connection.fetchval(
            "SELECT has_database_privilege($1, $2, 'CONNECT')", f"{one.name}_{role}", two.name
        )
        assert may is False
    await connection.close()
    with pytest.raises(Exception, match=r"another tenant|permission denied"):
        await intruder.connect(Role.READER)


async def test_an_outdated_database_is_refused_by_both_revisions(ledger: Ledger, tenant_id: str) -> None:
    name = await ledger.tenants.create_tenant_db(tenant_id, "Acme")
    connection: asyncpg.Connection = await ledger.server.connect(name)
    current = await connection.fetchval("SELECT version_num FROM ledger.alembic_version")
    for found, fix in (("0001", "daicho migrate"), ("9999", "Install the daicho that migrated it")):
        await connection.execute("UPDATE ledger.alembic_version SET version_num = $1", found)
        with pytest.raises(MigrationNeeded, match=rf"revision {current}.*revision {found}.*{fix}"):
            await ledger.tenant(tenant_id)
    await connection.close()

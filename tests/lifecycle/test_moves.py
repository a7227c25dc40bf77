"""A tenant moves between two real servers while its writers go on: nothing acknowledged is lost, nothing is
there twice, and whoever had it open finds it at its new place."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import text

from ledger import Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from ledger.control.guards import inspect_tenant
from ledger.errors import (
    NoServerForTenant,
    ServerNotFound,
    TenantBusy,
    TenantConflict,
    TenantCopyDiffers,
    TenantMoving,
    TenantSuspended,
)
from ledger.lifecycle import cancel_move, move_tenant, moving
from ledger.store.tenant_database import Role
from projections import verify
from tests.faults.own_server import folder_of_its_own
from tests.lifecycle.conftest import Killed, acts, fact, fill, is_there, killed_at, log_rows, new_id


@pytest.fixture(scope="module")
def second() -> Iterator[EmbeddedPostgres]:
    with folder_of_its_own() as folder, EmbeddedPostgres.start(folder / "home") as server:
        yield server


@pytest.fixture(scope="module")
def own_home() -> Iterator[Settings]:
    """A catalogue of its own: a server that is added takes everybody's tenants."""
    with folder_of_its_own() as folder, EmbeddedPostgres.start(folder / "home"):
        yield Settings(home=folder / "home")


@pytest.fixture
async def two(own_home: Settings, second: EmbeddedPostgres) -> AsyncIterator[Ledger]:
    """A ledger with the servers `control` and `second`."""
    async with await Ledger.open(own_home) as ledger:
        servers = ledger.tenants.servers
        if len(await servers.list()) == 1:
            await servers.add("second", f"postgresql://postgres@/postgres?host={second.socket_folder}")
        yield ledger


@pytest.fixture
async def here(two: Ledger) -> Tenant:
    """A tenant on `control`, with something to lose."""
    tenant_id = new_id()
    await two.tenants.create_tenant_db(tenant_id, "A tenant that moves", server="control")
    tenant = await two.tenant(tenant_id)
    await fill(tenant)
    return tenant


async def server_of(ledger: Ledger, tenant: Tenant) -> str:
    return (await ledger.tenants.catalogue.get(tenant.tenant_id)).server_name


async def test_a_tenant_is_at_its_new_server_what_it_was(two: Ledger, here: Tenant) -> None:
    before, source = await log_rows(here.database), here.database.server

    report = await move_tenant(two, here.tenant_id, "second", by="ann", reason="room")

    assert report.moved
    assert await server_of(two, here) == "second"
    assert await log_rows(here.database) == before
    assert here.database.server is not source
    assert (await verify(here)).ok
    assert await inspect_tenant(here.database) == []
    there = two.tenants.servers.control
    assert there is source
    record = await two.tenants.catalogue.get(here.tenant_id)
    assert await is_there(two, record.database_on(source)) == (False, 0)
    assert (await acts(two, here.tenant_id))[-1] == "tenant.moved"
    assert not (await move_tenant(two, here.tenant_id, "second")).moved


async def test_writers_and_readers_go_on_over_a_move_and_back(two: Ledger, here: Tenant) -> None:
    acknowledged: dict[str, int] = {}
    seen: list[int] = []
    stop = asyncio.Event()

    async def emit(tenant: Tenant) -> None:
        while not stop.is_set():
            event = fact(tenant)
            acknowledged[str(event.event_id)] = (await tenant.emitter.emit(event)).position

    async def tail(tenant: Tenant, after: int) -> None:
        async for event in tenant.store.subscribe(after):
            seen.append(event.position)

    head = await here.store.head()
    async with await Ledger.open(two.settings) as elsewhere:
        theirs = await elsewhere.tenant(here.tenant_id)
        tailing = asyncio.create_task(tail(theirs, head))
        emitting = [asyncio.create_task(emit(tenant)) for tenant in (here, theirs) for _ in range(4)]
        await asyncio.sleep(0.3)
        there = await move_tenant(two, here.tenant_id, "second")
        count = len(acknowledged)
        while len(acknowledged) < count + 50:
            await asyncio.sleep(0.01)
        back = await move_tenant(two, here.tenant_id, "control")
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*emitting)
        last = await here.store.head()
        async with asyncio.timeout(30):
            while not seen or seen[-1] < last:
                await asyncio.sleep(0.02)
        tailing.cancel()

        assert there.moved
        assert back.moved
        positions = {str(row[4]): row[0] for row in await log_rows(here.database)}
        assert {id_: positions[id_] for id_ in acknowledged} == acknowledged
        assert seen == list(range(head + 1, last + 1))
        await theirs.wait_projected(last)
        async with await elsewhere.tenants.get_connection(here.tenant_id) as session:
            assert (await session.execute(text("SELECT position FROM ledger.head"))).scalar_one() == last
    assert (await verify(here)).ok


async def test_what_is_erased_while_it_is_copied_is_erased_there(
    two: Ledger, here: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await here.emitter.emit(fact(here, worker="secret"))
    fence = moving.keep_writers_out
    calls: list[object] = []

    async def erase_first(database: object) -> None:
        calls.append(database)
        if len(calls) == 2:  # the first keeps everybody out of the target; the log is copied by now
            await here.erase_payload(secret.position, by="ann", reason="asked to")
        await fence(database)  # type: ignore[arg-type]

    monkeypatch.setattr(moving, "keep_writers_out", erase_first)
    await move_tenant(two, here.tenant_id, "second")

    erased = next(row for row in await log_rows(here.database) if row[0] == secret.position)
    assert erased[-3:-1] == (None, None)
    assert (await verify(here)).ok


STEPS = [
    ("_claim", False),
    ("provision", True),
    ("_copy_events", True),
    ("_compare_log", False),
    ("keep_writers_out", True),
    ("_copy_other_tables", True),
    ("require_equal_tables", False),
    ("drop_database", False),
    ("drop_database", True),
]


@pytest.mark.parametrize(("name", "after"), STEPS)
async def test_a_move_that_was_killed_is_finished_by_asking_again(
    two: Ledger, here: Tenant, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    before = await log_rows(here.database)
    revive = killed_at(monkeypatch, moving, name, after=after)
    with pytest.raises(Killed):
        await move_tenant(two, here.tenant_id, "second")
    with pytest.raises(TenantBusy, match="move"):
        await two.tenants.suspend(here.tenant_id)
    revive()

    report = await move_tenant(two, here.tenant_id, "second")

    assert report.position == len(before)
    assert await log_rows(here.database) == before
    assert await server_of(two, here) == "second"
    await here.emitter.emit(fact(here))


@pytest.mark.parametrize(("name", "after"), STEPS[1:7])
async def test_a_move_that_was_killed_can_be_taken_back(
    two: Ledger, here: Tenant, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    revive = killed_at(monkeypatch, moving, name, after=after)
    with pytest.raises(Killed):
        await move_tenant(two, here.tenant_id, "second")
    revive()

    await cancel_move(two, here.tenant_id, by="ann")

    assert (await acts(two, here.tenant_id))[-1] == "tenant.move_cancelled"
    assert await server_of(two, here) == "control"
    await here.emitter.emit(fact(here))
    target = await two.tenants.servers.get("second")
    record = await two.tenants.catalogue.get(here.tenant_id)
    assert await is_there(two, record.database_on(target)) == (False, 0)


async def test_a_move_that_was_switched_is_not_taken_back(
    two: Ledger, here: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    revive = killed_at(monkeypatch, moving, "drop_database")
    with pytest.raises(Killed):
        await move_tenant(two, here.tenant_id, "second")
    revive()
    with pytest.raises(TenantConflict, match="second already"):
        await cancel_move(two, here.tenant_id)


async def test_while_writers_are_kept_out_they_wait_and_newcomers_are_told_to(
    two: Ledger, here: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = moving.require_equal_tables
    waiting: list[asyncio.Task[object]] = []

    async def meanwhile(*databases: object) -> None:
        waiting.append(asyncio.create_task(here.emitter.emit(fact(here))))
        async with await Ledger.open(two.settings) as elsewhere:
            with pytest.raises(TenantMoving) as told:
                await elsewhere.tenant(here.tenant_id)
            assert told.value.retryable
        await compare(*databases)  # type: ignore[arg-type]
        assert not waiting[0].done()

    monkeypatch.setattr(moving, "require_equal_tables", meanwhile)
    report = await move_tenant(two, here.tenant_id, "second")
    recorded = await waiting[0]
    assert recorded.position == report.position + 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("step", "tampering"),
    [
        ("_copy_events", "UPDATE ledger.events SET actor = 'mallory' WHERE position = 2"),
        ("_copy_events", "DELETE FROM ledger.events WHERE position = 3"),
        ("_copy_other_tables", "UPDATE projection.runs SET status = 'cancelled'"),
    ],
)
async def test_where_the_copy_is_not_equal_the_tenant_stays(
    two: Ledger, here: Tenant, monkeypatch: pytest.MonkeyPatch, step: str, tampering: str
) -> None:
    before = await log_rows(here.database)
    real = getattr(moving, step)

    async def tamper(move: moving._Move) -> int:
        copied: int = await real(move)
        connection = await move.target.server.connect(move.target.name)
        await connection.execute(f"ALTER TABLE ledger.events DISABLE TRIGGER ALL; {tampering}")
        await connection.close()
        return copied

    monkeypatch.setattr(moving, step, tamper)
    with pytest.raises(TenantCopyDiffers):
        await move_tenant(two, here.tenant_id, "second")

    assert (await acts(two, here.tenant_id))[-1] == "tenant.move_failed"
    assert await server_of(two, here) == "control"
    assert await log_rows(here.database) == before
    await here.emitter.emit(fact(here))
    target = here.database
    assert await is_there(two, target) == (True, len(Role))


async def test_a_suspended_tenant_moves_suspended(two: Ledger, here: Tenant) -> None:
    await two.tenants.suspend(here.tenant_id)
    await move_tenant(two, here.tenant_id, "second")
    with pytest.raises(TenantSuspended):
        await here.emitter.emit(fact(here))
    await two.tenants.resume(here.tenant_id)
    await here.emitter.emit(fact(here))


async def test_a_server_under_two_names_is_no_other_server(two: Ledger, here: Tenant) -> None:
    host = two.server.address["host"]
    await two.tenants.servers.add("twin", f"postgresql://postgres@/postgres?host={host}")
    try:
        with pytest.raises(TenantConflict, match="one server"):
            await move_tenant(two, here.tenant_id, "twin")
        await here.emitter.emit(fact(here))
    finally:
        await two.tenants.servers.remove("twin")


async def test_a_server_that_is_full_closed_or_unknown_takes_nobody(two: Ledger, here: Tenant) -> None:
    servers = two.tenants.servers
    with pytest.raises(ServerNotFound):
        await move_tenant(two, here.tenant_id, "nowhere")
    await servers.change("second", accepts_new_tenants=False)
    with pytest.raises(NoServerForTenant):
        await move_tenant(two, here.tenant_id, "second")
    await servers.change("second", accepts_new_tenants=True)

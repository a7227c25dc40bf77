"""`daicho status`: every tenant, what is wrong with it, and exit code 1 where something is."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ledger import Event, Ledger, Settings
from ledger.control.embedded import EmbeddedPostgres
from ledger.inspection import statuses
from tests.faults.own_server import folder_of_its_own
from tests.lifecycle.conftest import fill, new_id
from tests.support.command_line import CommandLine


@pytest.fixture(scope="module")
def own_settings() -> Iterator[Settings]:
    """A catalogue of its own: status looks at every tenant."""
    with folder_of_its_own() as folder, EmbeddedPostgres.start(folder / "home"):
        yield Settings(home=folder / "home")


@pytest.fixture
def daicho(own_settings: Settings) -> CommandLine:
    return CommandLine(own_settings.home)


async def status_of(daicho: CommandLine, tenant_id: str, *words: str) -> tuple[int, dict[str, Any]]:
    code, said = await daicho("status", "--json", *words)
    return code, next(each for each in json.loads(said) if each["tenant_id"] == tenant_id)


async def made(ledger: Ledger) -> str:
    tenant_id = new_id()
    await ledger.tenants.create_tenant_db(tenant_id, "Acme")
    return tenant_id


async def test_it_tells_how_every_tenant_stands(own_settings: Settings, daicho: CommandLine) -> None:
    async with await Ledger.open(own_settings) as ledger:
        ours, suspended = await made(ledger), await made(ledger)
        tenant = await ledger.tenant(ours)
        await fill(tenant)
        head = await tenant.store.head()
        await ledger.tenants.suspend(suspended)

    code, said = await status_of(daicho, ours)
    assert code == 0
    told = {name: said[name] for name in ("status", "server", "head", "lag", "last_seal", "problems")}
    assert told == {
        "status": "active",
        "server": "control",
        "head": head,
        "lag": 0,
        "last_seal": None,
        "problems": [],
    }
    assert said["blobs"]["bodies"] == 2
    assert said["database_bytes"] > 2**20
    assert said["schema_revision"] == (await status_of(daicho, suspended))[1]["schema_revision"]
    assert (await status_of(daicho, suspended))[1]["status"] == "suspended"
    code, text = await daicho("status")
    assert (code, ours in text, suspended in text) == (0, True, True)


async def test_an_open_run_that_is_silent_is_stuck_where_that_is_asked(
    own_settings: Settings, daicho: CommandLine
) -> None:
    async with await Ledger.open(own_settings) as ledger:
        ours = await made(ledger)
        tenant = await ledger.tenant(ours)
        pack = {"pack_id": "p", "version": "1", "digest": "d"}
        started = Event(
            event_type="run.started", run_id="silent", tenant_id=ours, payload={"prompt_pack": pack}
        )
        recorded = await tenant.emitter.emit(started)
        await tenant.wait_projected(recorded.position)
        await asyncio.sleep(1.1)

    assert (await status_of(daicho, ours))[0] == 0
    assert (await status_of(daicho, ours, "--stuck-over", "1h"))[0] == 0
    code, said = await status_of(daicho, ours, "--stuck-over", "1s")
    assert code == 1
    assert [run["run_id"] for run in said["stuck_runs"]] == ["silent"]
    code, text = await daicho("status", "--stuck-over", "1s")
    assert f"daicho timeline silent -t {ours}" in " ".join(text.split())
    assert (await daicho("status", "--stuck-over", "soon"))[0] == 2


async def test_what_was_interrupted_and_what_cannot_be_asked_is_told(
    own_settings: Settings, daicho: CommandLine
) -> None:
    async with await Ledger.open(own_settings) as ledger:
        half_made, gone, moving = [await made(ledger) for _ in range(3)]
        connection = await ledger.server.connect()
        name = (await ledger.tenants.catalogue.get(gone)).database_name
        await ledger.server.connections.close_idle()
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.execute(
            "UPDATE control.tenants SET status = 'creating' WHERE tenant_id = $1", half_made
        )
        await connection.execute(
            "INSERT INTO control.tenant_operations VALUES ($1, 'move', 'copying', '{}', 'ann')", moving
        )
        try:
            found = {each.tenant_id: each for each in await statuses(ledger)}
            assert "making was interrupted" in found[half_made].problems[0].what
            assert "could not be asked" in found[gone].problems[0].what
            assert "move is at the step copying" in found[moving].problems[0].what
            code, text = await daicho("status")
            assert code == 1
            assert f"daicho tenant move {moving}" in " ".join(text.split())
        finally:
            await connection.execute("DELETE FROM control.tenant_operations")
            await connection.execute("UPDATE control.tenants SET status = 'deleted' WHERE tenant_id <> 'x'")
            await connection.close()

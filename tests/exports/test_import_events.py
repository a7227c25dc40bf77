"""`daicho import` of our own jsonl gives the same ledger: ids, order, digests."""

import asyncio
import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ledger import Ledger, Settings, Tenant
from ledger.cli import main
from ledger.errors import ArchiveDamaged, ArchiveUnreadable, TenantConflict, TenantCopyDiffers, TenantNotFound
from ledger.exports import export_events, import_events, importing
from ledger.exports.jsonl import event_of, line
from ledger.exports.rows import StoredEvent
from projections import verify
from projections.audit import AuditQueries
from tests.lifecycle.conftest import Killed, acts, killed_at, log_rows, new_id


@pytest.fixture
async def exported(filled: Tenant, tmp_path: Path) -> Path:
    file = io.BytesIO()
    await export_events(filled, file, "jsonl")
    path = tmp_path / "events.jsonl"
    path.write_bytes(file.getvalue())
    return path


async def test_a_log_made_of_jsonl_is_the_same_to_the_last_byte(
    ledger: Ledger, filled: Tenant, exported: Path
) -> None:
    new = new_id()
    done = await import_events(ledger, exported, new, by="bob", reason="to see")
    assert (done.former_id, done.position) == (filled.tenant_id, await filled.store.head())
    tenant = await ledger.tenant(new)
    assert await log_rows(tenant.database) == await log_rows(filled.database)
    ours, theirs = await verify(tenant), await verify(filled)
    assert ours.ok
    assert {name: table.live_digest for name, table in ours.tables.items()} == {
        name: table.live_digest for name, table in theirs.tables.items()
    }
    assert (await AuditQueries(tenant).state_at("run-1"))["step_outputs"] == (
        await AuditQueries(filled).state_at("run-1")
    )["step_outputs"]
    async with tenant.run("run-after", prompt_pack="pack") as run, run.step("s"):
        pass
    assert await tenant.store.head() == done.position + 4
    assert (await acts(ledger, new))[-1] == "tenant.imported"


async def test_an_import_that_was_killed_goes_on(
    ledger: Ledger, filled: Tenant, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PAGE_EVENTS", 3)
    new = new_id()
    undo = killed_at(monkeypatch, importing, "write_events", after=True)
    with pytest.raises(Killed):
        await import_events(ledger, exported, new)
    undo()
    with pytest.raises(TenantNotFound):
        await ledger.tenant(new)
    await import_events(ledger, exported, new)
    assert await log_rows((await ledger.tenant(new)).database) == await log_rows(filled.database)
    with pytest.raises(TenantConflict):
        await import_events(ledger, exported, new)


def without_line(number: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: lines[:number] + lines[number + 1 :]


def cut_short(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1][:-20]]


def of_another(lines: list[bytes]) -> list[bytes]:
    told = orjson.loads(lines[2])
    return [*lines[:2], orjson.dumps({**told, "tenant_id": "another"}) + b"\n", *lines[3:]]


def with_a_key_more(lines: list[bytes]) -> list[bytes]:
    return [orjson.dumps({**orjson.loads(lines[0]), "mood": 1}) + b"\n", *lines[1:]]


def without_zone(lines: list[bytes]) -> list[bytes]:
    return [orjson.dumps({**orjson.loads(lines[0]), "timestamp": "2026-01-01T00:00:00"}) + b"\n", *lines[1:]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_line(0), "Line 1 of .* is position 2"),
        (without_line(3), "Line 4 of .* is position 5"),
        (cut_short, "cannot be read"),
        (of_another, "is of tenant 'another'"),
        (with_a_key_more, "has not the keys of an event"),
        (without_zone, "has no offset"),
    ],
)
async def test_a_file_that_is_no_whole_log_makes_no_tenant(
    ledger: Ledger, exported: Path, change: Callable[[list[bytes]], list[bytes]], told: str
) -> None:
    exported.write_bytes(b"".join(change(exported.read_bytes().splitlines(keepends=True))))
    new = new_id()
    with pytest.raises(ArchiveDamaged, match=told):
        await import_events(ledger, exported, new)
    assert await ledger.tenants.catalogue.find(new) is None


async def test_a_payload_that_does_not_meet_its_commitment_makes_no_tenant(
    ledger: Ledger, exported: Path
) -> None:
    lines = exported.read_bytes().splitlines(keepends=True)
    lines[0] = lines[0].replace(b'"topic":"moving"', b'"topic":"forged"')
    exported.write_bytes(b"".join(lines))
    new = new_id()
    with pytest.raises(TenantCopyDiffers, match="do not meet their commitments"):
        await import_events(ledger, exported, new)
    with pytest.raises(TenantNotFound):
        await ledger.tenant(new)


async def test_what_is_no_file_and_what_is_empty_is_told(ledger: Ledger, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ArchiveUnreadable, match="cannot be read"):
            await import_events(ledger, path, new_id())
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ArchiveUnreadable, match="holds no event"):
        await import_events(ledger, tmp_path / "empty", new_id())


@given(st.binary(max_size=60) | st.sampled_from([b"{}", b'{"a":1}', b'{"a": 1}', b'{"b":1,"a":2}', b"1e400"]))
def test_any_bytes_of_a_payload_come_back(data: bytes) -> None:
    now = datetime.now(UTC)
    event = StoredEvent(
        1, 0, now, now, UUID(int=7), None, 1, "app/1", "shop:Order", None, None, None, data, b"salt", b"c"
    )
    assert event_of(1, line("acme", event)) == ("acme", event)


async def test_the_commands_write_a_file_whole_or_not_at_all(
    settings: Settings, filled: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAICHO_HOME", str(settings.home))

    async def call(*words: str) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, main, list(words), catch_exceptions=False)
        return done.exit_code, " ".join(done.output.split())

    ours, new, path = filled.tenant_id, new_id(), tmp_path / "out.jsonl"
    code, printed = await call("export", "-t", ours, "--run", "run-1")
    assert (code, '"event_type":"run.started"' in printed) == (0, True)
    assert (await call("export", "-t", ours, "-o", str(path)))[0] == 0
    assert (await call("export", "-t", ours, "-o", str(path)))[0] == 2  # it is there already
    for wrong in (["--run", "run-9"], ["--until", "999"]):
        assert (await call("export", "-t", ours, "-o", f"{path}2", *wrong))[0] == 2
    assert (await call("export", "-t", ours, "--format", "parquet"))[0] == 2
    assert [found.name for found in tmp_path.iterdir()] == ["out.jsonl"]
    code, said = await call("import", str(path), "--as", new, "--json")
    assert (code, orjson.loads(said[said.index("{") :])["former_id"]) == (0, ours)
    assert (await call("verify", "-t", new))[0] == 0

"""`daicho import` of our own jsonl gives the same ledger: ids, order, digests."""

import asyncio
import gzip
import io
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ledger import Ledger, Settings, Tenant
from ledger.cli import main
from ledger.errors import ArchiveDamaged, ArchiveUnreadable, TenantConflict, TenantNotFound
from ledger.exports import checking, export_events, import_events, importing
from ledger.exports.checking import checked
from ledger.exports.jsonl import Line, line, line_of_text
from ledger.exports.rows import StoredEvent
from ledger.inspection import statuses
from ledger.upkeep.sorting import RecordSorter
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
    [problem] = [
        each for found in await statuses(ledger) if found.tenant_id == new for each in found.problems
    ]
    assert f"--as {new}, again" in problem.fix
    await import_events(ledger, exported, new)
    assert await log_rows((await ledger.tenant(new)).database) == await log_rows(filled.database)
    with pytest.raises(TenantConflict):
        await import_events(ledger, exported, new)


Lines = list[bytes]


def sealed(told: dict[str, Any]) -> bytes:
    """A line with whatever is `told`, as somebody would write it who knows how."""
    told = {name: value for name, value in told.items() if name != "line_sha256"}
    text = orjson.dumps(told)[:-1]
    return text + b',"line_sha256":"' + sha256(text).hexdigest().encode() + b'"}\n'


def with_line(number: int, **changes: Any) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        told = orjson.loads(lines[number]) | changes
        return [*lines[:number], sealed(told), *lines[number + 1 :]]

    return change


def with_bytes(old: bytes, new: bytes) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        assert old in lines[1]
        return [lines[0], lines[1].replace(old, new), *lines[2:]]

    return change


def without_key(lines: Lines) -> Lines:
    told = orjson.loads(lines[0])
    del told["actor"]
    return [sealed(told), *lines[1:]]


def with_an_id_twice(lines: Lines) -> Lines:
    return with_line(4, event_id=orjson.loads(lines[1])["event_id"])(lines)


def with_a_version_twice(lines: Lines) -> Lines:
    return with_line(4, version=orjson.loads(lines[1])["version"])(lines)


DAMAGE: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "its first line is gone": (lambda lines: lines[1:], "Line 1 of .* is position 2"),
    "a line is gone": (lambda lines: lines[:3] + lines[4:], "Line 4 of .* is position 5"),
    "its last line is gone": (lambda lines: lines[:-1], "ends at position .* every position up to"),
    "its last line is cut": (lambda lines: [*lines[:-1], lines[-1][:-20]], "it is no JSON"),
    "its last line has no end": (lambda lines: [*lines[:-1], lines[-1][:-1]], "it was changed since"),
    "two lines changed places": (lambda lines: [lines[1], lines[0], *lines[2:]], "Line 1 of .* position 2"),
    "a line is there twice": (lambda lines: [*lines[:3], *lines[2:]], "Line 4 of .* is position 3"),
    "a blank line follows": (lambda lines: [*lines, b"\n"], "it is no JSON"),
    "it is one line": (lambda lines: [b"".join(lines).replace(b"\n", b"")], "it is no JSON"),
    "it is packed": (lambda lines: [gzip.compress(b"".join(lines))], "it is no JSON"),
    "it is JSON of another kind": (lambda lines: [b"[]\n"], "has not the keys of an event"),
    "a run was changed": (with_bytes(b'"run-1"', b'"run-2"'), "it was changed since"),
    "a type was changed": (with_bytes(b"step.started", b"step.failing"), "it was changed since"),
    "a time was changed": (with_bytes(b'"recorded_at":"2', b'"recorded_at":"3'), "it was changed since"),
    "white space came in": (with_bytes(b'"version":2', b'"version": 2'), "it was changed since"),
    "a key came in": (with_line(0, mood=1), "has not the keys of an event"),
    "a key is gone": (without_key, "has not the keys of an event"),
    "a line is another tenant's": (with_line(2, tenant_id="another"), "is of tenant 'another'"),
    "a line is of another export": (with_line(2, upto=9), "is of another export"),
    "a tenant is no text": (with_line(0, tenant_id=["acme"]), "is not text"),
    "an id is there twice": (with_an_id_twice, "Lines 2 and 5 of .* have the same event id"),
    "a version is there twice": (
        with_a_version_twice,
        "Lines 2 and 5 of .* have the same version of its run",
    ),
    "a time goes back": (with_line(2, recorded_at="2001-01-01T00:00:00Z"), "was recorded before the line"),
    "a time has no zone": (with_line(0, timestamp="2026-01-01T00:00:00"), "has no offset"),
    "a payload was changed": (with_line(0, payload={"pipeline": "forged"}), "does not meet its commitment"),
    "a salt was changed": (with_line(0, salt="00" * 16), "does not meet its commitment"),
    "a salt is short": (with_line(0, salt="00"), "is not 16 bytes"),
    "a payload is too large": (with_line(0, payload={"x": "y" * 70_000}), "more than any event's"),
    "an erased one has a salt": (with_line(0, erased=True), "has a salt, unless it is erased"),
    "an attempt is too large": (with_line(1, attempt=2**31), "is no such number"),
    "an attempt is none": (with_line(1, attempt=0), "is no such number"),
    "a schema version is too large": (with_line(1, schema_version=2**15), "is no such number"),
    "a run has no name": (with_line(1, run_id=""), "has no name"),
}


@pytest.mark.parametrize("which", DAMAGE)
async def test_a_file_that_is_no_whole_log_makes_no_tenant(
    ledger: Ledger, exported: Path, which: str
) -> None:
    change, told = DAMAGE[which]
    exported.write_bytes(b"".join(change(exported.read_bytes().splitlines(keepends=True))))
    new = new_id()
    with pytest.raises(ArchiveDamaged, match=told):
        await import_events(ledger, exported, new)
    assert await ledger.tenants.catalogue.find(new) is None


async def test_a_line_of_a_newer_daicho_makes_no_tenant(ledger: Ledger, exported: Path) -> None:
    lines = exported.read_bytes().splitlines(keepends=True)
    exported.write_bytes(b"".join(with_line(0, schema_version=77)(lines)))
    new = new_id()
    with pytest.raises(ArchiveUnreadable, match="recorded by a newer daicho"):
        await import_events(ledger, exported, new)
    assert await ledger.tenants.catalogue.find(new) is None


async def test_what_must_occur_once_is_found_among_more_than_memory_holds(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "RecordSorter", partial(RecordSorter, held_max=3))
    lines = exported.read_bytes().splitlines(keepends=True)
    assert checked(exported).head == len(lines)
    exported.write_bytes(b"".join(with_line(9, event_id=orjson.loads(lines[1])["event_id"])(lines)))
    with pytest.raises(ArchiveDamaged, match="Lines 2 and 10"):
        checked(exported)


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
        1,
        0,
        now,
        now,
        UUID(int=7),
        None,
        1,
        "app/1",
        "shop:Order",
        None,
        None,
        None,
        data,
        bytes(16),
        bytes(32),
    )
    assert line_of_text(1, line("acme", event, 9)) == Line("acme", 9, event)


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

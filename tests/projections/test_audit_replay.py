"""A replayed folder: the state and every body as of a point, whole or not there at all."""

import json
from pathlib import Path

import pytest

from blobstore import parse_digest
from ledger import Event, EventType, Tenant
from ledger.errors import FolderRefused, RunNotFound
from projections.audit import AuditQueries, Point

PACK = {"pack_id": "p", "version": 1, "digest": "d" * 64}


async def _article(tenant: Tenant, first: bytes = b'{"title": "first"}') -> None:
    async with tenant.run("r", prompt_pack="mock_pack") as run:
        async with run.step("draft") as step:
            await step.put(first, "output.json")
        async with run.step("draft") as step:
            await step.put(b'{"title": "second"}', "output.json")
            await step.put("# notes", "notes.md", is_output=False)


async def test_state_timeline_and_bodies_are_written_as_of_the_point(tenant: Tenant, tmp_path: Path) -> None:
    await _article(tenant)
    audit = AuditQueries(tenant)
    now = await audit.replay("r", tmp_path / "now")
    made = tmp_path / "now"

    assert (made / "artifacts/r/draft/output.json").read_bytes() == b'{"title": "second"}'
    assert (made / "older/1/r/draft/output.json").read_bytes() == b'{"title": "first"}'
    assert (made / "artifacts/r/draft/notes.md").read_bytes() == b"# notes"
    assert (made / "state.json").read_text() == (await audit.state("r")).model_dump_json(indent=2)
    assert (made / "timeline.json").read_text() == (await audit.timeline("r")).model_dump_json(indent=2)
    assert json.loads((made / "manifest.json").read_text()) == json.loads(now.model_dump_json())
    assert (now.ok, sorted(body.file for body in now.bodies)) == (
        True,
        ["artifacts/r/draft/notes.md", "artifacts/r/draft/output.json", "older/1/r/draft/output.json"],
    )

    (tmp_path / "then").mkdir()
    then = await audit.replay("r", tmp_path / "then", Point(version=3))
    assert [body.file for body in then.bodies] == ["artifacts/r/draft/output.json"]
    assert (tmp_path / "then/artifacts/r/draft/output.json").read_bytes() == b'{"title": "first"}'
    assert json.loads((tmp_path / "then/state.json").read_text())["version"] == 3


async def test_what_is_missing_or_corrupt_is_told_and_has_no_file(
    tenant: Tenant, tmp_path: Path, home: Path
) -> None:
    await _article(tenant, tenant.tenant_id.encode())
    audit = AuditQueries(tenant)
    first, second, _ = (await audit.replay("r", tmp_path / "whole")).bodies
    [file] = [path for path in home.rglob(first.digest) if path.is_file()]
    file.chmod(0o600)
    file.write_bytes(b"something else")
    await tenant.blobs.delete(parse_digest(second.digest))

    found = await audit.replay("r", tmp_path / "broken")
    assert not found.ok
    assert [body.status for body in found.bodies] == ["corrupt", "missing", "written"]
    assert not (tmp_path / "broken" / first.file).exists()
    assert not (tmp_path / "broken" / second.file).exists()


@pytest.mark.parametrize(
    "path",
    [
        "../../escaped",
        "storage/{0}/r/../escaped",
        "storage/other/r/s/name",
        "/etc/passwd",
        "storage/{0}/r/s/a\\b",
    ],
)
async def test_no_path_in_an_event_leads_out_of_the_folder(tenant: Tenant, tmp_path: Path, path: str) -> None:
    digest = await tenant.blobs.put(b"body")
    ref = {
        "path": path.format(tenant.tenant_id),
        "digest": digest,
        "size_bytes": 4,
        "created_at": "2026-01-01T00:00:00Z",
    }
    for kind, payload in ((EventType.RUN_STARTED, {"prompt_pack": PACK, "inputs": [ref]}),):
        await tenant.emitter.emit(
            Event(event_type=kind, run_id="r", tenant_id=tenant.tenant_id, payload=payload)
        )
    (tmp_path / "inside").mkdir()
    found = await AuditQueries(tenant).replay("r", tmp_path / "inside/out")
    assert [body.file for body in found.bodies] == [f"unplaced/{digest}"]
    assert (tmp_path / "inside/out/unplaced" / digest).read_bytes() == b"body"
    assert [entry.name for entry in tmp_path.iterdir()] == ["inside"]
    assert [entry.name for entry in (tmp_path / "inside").iterdir()] == ["out"]


async def test_names_that_a_file_system_may_take_for_one_do_not_overwrite_each_other(
    tenant: Tenant, tmp_path: Path
) -> None:
    async with tenant.run("r", prompt_pack="mock_pack") as run, run.step("draft") as step:
        await step.put(b"1", "Notes.json")
        await step.put(b"2", "notes.json")
    found = await AuditQueries(tenant).replay("r", tmp_path / "out")
    assert [(tmp_path / "out" / body.file).read_bytes() for body in found.bodies] == [b"1", b"2"]
    assert found.bodies[1].file.startswith("unplaced/")


async def test_a_folder_that_holds_anything_is_refused_and_nothing_is_left_behind(
    tenant: Tenant, tmp_path: Path
) -> None:
    await _article(tenant)
    audit = AuditQueries(tenant)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    (tmp_path / "file").write_text("a file")
    for folder, why in (("full", "it is not empty"), ("file", "it is a file"), ("no/parent", "is not there")):
        with pytest.raises(FolderRefused, match=why):
            await audit.replay("r", tmp_path / folder)
    with pytest.raises(RunNotFound):
        await audit.replay("nobody", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    assert (tmp_path / "full/mine.txt").read_text() == "mine"


async def test_a_link_and_a_way_through_what_is_not_there_are_refused(tenant: Tenant, tmp_path: Path) -> None:
    await _article(tenant)
    audit = AuditQueries(tenant)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "nowhere").symlink_to("not-there")
    (tmp_path / "loop").symlink_to("loop")
    for folder, why in (
        ("link", "it is a symbolic link"),
        ("nowhere", "it is a symbolic link"),
        ("loop", "it is a symbolic link"),
        ("loop/out", "its place cannot be looked at"),
        ("gone/../out", "is not there"),
        ("real/..", "it is not empty"),
        ("x" * 300, "its place cannot be looked at"),
    ):
        with pytest.raises(FolderRefused, match=why):
            await audit.replay("r", tmp_path / folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "loop", "nowhere", "real"]
    assert not list((tmp_path / "real").iterdir())
    assert (await audit.replay("r", tmp_path / "real/../out")).ok
    assert (tmp_path / "out/state.json").exists()


async def test_the_folder_somebody_is_in_is_not_exchanged_under_their_feet(
    tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _article(tenant)
    monkeypatch.chdir(tmp_path)
    for folder in (Path("."), Path.cwd(), Path(f"../{tmp_path.name}")):
        with pytest.raises(FolderRefused, match="it is the folder you are in"):
            await AuditQueries(tenant).replay("r", folder)
    assert list(Path.cwd().iterdir()) == []
    assert (await AuditQueries(tenant).replay("r", Path("out"))).ok


async def test_a_store_that_fails_in_the_middle_leaves_no_folder(
    tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _article(tenant)

    def fails(*_: object) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(tenant.blobs, "open", fails)
    with pytest.raises(ConnectionError):
        await AuditQueries(tenant).replay("r", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []

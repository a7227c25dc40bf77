"""`daicho timeline` and its like as their user meets them: processes, pipes, Ctrl-C, exit codes."""

import asyncio
import os
import signal
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from blobstore import parse_digest
from ledger import Event, Settings, Tenant
from ledger.cli import main
from projections.audit import AuditQueries
from tests.support.command_line import next_line, running

PACK = {"pack_id": "p", "version": 1, "digest": "d" * 64}


async def _emit(tenant: Tenant, kind: str, **fields: object) -> None:
    await tenant.emitter.emit(Event(event_type=kind, run_id="r", tenant_id=tenant.tenant_id, **fields))


async def test_a_run_that_is_being_written_is_followed_line_by_line_until_it_ends(
    home: Path, tenant: Tenant
) -> None:
    await _emit(tenant, "run.started", payload={"prompt_pack": PACK})
    async with running(home, "timeline", "r", "-t", tenant.tenant_id, "-f") as process:
        assert "run.started" in await next_line(process)
        for number in (1, 2, 3):
            await _emit(tenant, "step.started", step_id="draft", attempt=number)
            assert f"draft#{number}" in await next_line(process)
        await _emit(tenant, "run.succeeded")
        printed, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")
    assert [line.split()[3] for line in printed.decode().splitlines()] == ["run.succeeded"]


async def test_ctrl_c_ends_following_with_130_and_without_a_word(home: Path, tenant: Tenant) -> None:
    await _emit(tenant, "run.started", payload={"prompt_pack": PACK})
    async with running(home, "timeline", "r", "-t", tenant.tenant_id, "-f") as process:
        assert "run.started" in await next_line(process)
        process.send_signal(signal.SIGINT)
        assert await process.communicate() == (b"", b"")
    assert process.returncode == 130


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["plain", "json"])
async def test_a_reader_that_has_seen_enough_ends_following_at_once_and_without_a_word(
    home: Path, tenant: Tenant, options: tuple[str, ...]
) -> None:
    """Although nothing more is written."""
    await _emit(tenant, "run.started", payload={"prompt_pack": PACK})
    read, write = os.pipe()
    async with running(
        home, "timeline", "r", "-t", tenant.tenant_id, "-f", *options, stdout=write
    ) as process:
        os.close(write)
        assert await asyncio.to_thread(os.read, read, 20)
        os.close(read)
        _, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")


@pytest.fixture
def daicho(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DAICHO_HOME", str(settings.home))
    return CliRunner()


async def _run(daicho: CliRunner, tenant: Tenant, *words: str) -> tuple[int, str]:
    words = (*words, "-t", tenant.tenant_id)
    done = await asyncio.to_thread(daicho.invoke, main, list(words), catch_exceptions=False)
    return done.exit_code, " ".join(done.output.split())


async def test_a_body_that_is_not_what_its_digest_says_fails_the_check(
    daicho: CliRunner, tenant: Tenant, home: Path
) -> None:
    tag = tenant.tenant_id.encode()
    for run_id in ("one", "two"):
        async with tenant.run(run_id, prompt_pack="mock_pack") as run, run.step("draft") as step:
            broken = await step.put(tag + run_id.encode(), "broken.txt", is_output=False)
            whole = await step.put(tag + b"whole", "whole.txt")
            await step.repaired(kind="fix", before=broken, after=whole)
    words = (("explain", "one", "draft", "--bodies"), ("diff", "one", "two", "--bodies"))
    for asked in words:
        assert (await _run(daicho, tenant, *asked))[0] == 0
    digest = (await AuditQueries(tenant).explain("one", "draft")).repairs[0].before.digest
    [file] = [path for path in home.rglob(digest) if path.is_file()]
    file.chmod(0o600)
    file.write_bytes(b"something else")
    for asked in words:
        code, told = await _run(daicho, tenant, *asked)
        assert (code, "NOT what its digest says" in told) == (1, True)
    await tenant.blobs.delete(parse_digest(digest))
    assert (await _run(daicho, tenant, "explain", "one", "draft", "--bodies"))[0] == 0


async def test_of_an_erased_repair_it_is_told_that_there_was_one(daicho: CliRunner, tenant: Tenant) -> None:
    async with tenant.run("r", prompt_pack="mock_pack") as run, run.step("draft") as step:
        broken = await step.put(b"1", "broken.txt", is_output=False)
        await step.repaired(kind="fix", before=broken, after=await step.put(b"2", "whole.txt"), note="secret")
    [repair] = (await AuditQueries(tenant).explain("r", "draft")).repairs
    await tenant.erase_payload(repair.position, by="ann", reason="asked for")
    found = await AuditQueries(tenant).explain("r", "draft")
    assert (found.repairs, [event.position for event in found.erased]) == ([], [repair.position])
    code, told = await _run(daicho, tenant, "explain", "r", "draft")
    assert (code, "secret" in told) == (0, False)
    assert f"repair.applied at position {repair.position} was erased" in told
    assert "by ann: asked for" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("timeline", "\\[/x]"), "There is no run '\\\\[/x]'"),
        (("timeline", "[bold]x[/bold]"), "There is no run '[bold]x[/bold]'"),
        (("lineage", "storage/{}/articl/s/x.json"), "there is no run 'articl'. Did you mean 'article'"),
        (("lineage", "storage/{}/article/s/x.json"), "Run 'article' has no artifacts"),
        (("lineage", "storage/other/article/s/x.json"), "A lineage does not leave its tenant"),
    ],
)
async def test_what_is_wrong_is_told_as_it_was_given(
    daicho: CliRunner, tenant: Tenant, words: tuple[str, ...], told: str
) -> None:
    async with tenant.run("article", prompt_pack="mock_pack"):
        pass
    await tenant.wait_projected(await tenant.store.head())
    code, output = await _run(daicho, tenant, *(word.format(tenant.tenant_id) for word in words))
    assert (code, told in output) == (2, True), output


async def test_before_the_first_event_there_was_nothing_and_it_says_so(
    daicho: CliRunner, tenant: Tenant
) -> None:
    await _emit(tenant, "run.started", payload={"prompt_pack": PACK})
    for words in (("runs", "--at", "2001-01-01"), ("table", "steps", "--at", "2001-01-01")):
        code, output = await _run(daicho, tenant, *words)
        assert (code, "before the first event" in output) == (0, True)
        told = orjson.loads((await _run(daicho, tenant, *words, "--json"))[1])
        assert (told["position"], told.get("runs", told.get("rows"))) == (0, [])

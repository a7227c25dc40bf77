"""Standard output that takes no more, because its disk is full or its reader has gone, is told in a line or
not at all: no traceback, and no exit code that says something else."""

import asyncio
import os
import resource
from pathlib import Path

import pytest

from ledger import Event, Settings, Tenant
from tests.support.command_line import DAICHO

COMMANDS = [
    ("export",),
    ("export", "--format", "csv"),
    ("export", "--format", "openlineage"),
    ("search", "--json", "--limit", "1000"),
    ("search", "--limit", "1000"),
    ("runs", "--json", "--limit", "1000"),
    ("table", "runs", "--limit", "1000"),
    ("schema",),
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
async def long(tenant: Tenant) -> Tenant:
    """More than a pipe holds, whichever way it is told."""
    event = {"event_type": "run.cancelled", "tenant_id": tenant.tenant_id, "payload": {"reason": "x" * 100}}
    await tenant.emitter.emit_many([Event(run_id=f"a-run-{number}", **event) for number in range(1_000)])  # type: ignore[arg-type]
    return tenant


async def said(home: Path, tenant: Tenant, words: tuple[str, ...], output: int) -> tuple[int | None, str]:
    options = () if words == ("schema",) else ("-t", tenant.tenant_id)
    environment = {**os.environ, "DAICHO_HOME": str(home)}
    process = await asyncio.create_subprocess_exec(
        *DAICHO, *words, *options, stdout=output, stderr=asyncio.subprocess.PIPE, env=environment
    )
    os.close(output)
    async with asyncio.timeout(60):
        _, complaints = await process.communicate()
    return process.returncode, " ".join(complaints.decode().split())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
async def test_a_full_disk_is_told(home: Path, long: Tenant, words: tuple[str, ...]) -> None:
    code, complaints = await said(home, long, words, os.open("/dev/full", os.O_WRONLY))
    assert code == 2
    assert complaints.endswith("cannot be written: No space left on device. Make room and try again.")
    assert "Traceback" not in complaints


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
async def test_a_reader_that_has_gone_is_no_fault(home: Path, long: Tenant, words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    code, complaints = await said(home, long, words, write)
    assert code == 130
    assert "Traceback" not in complaints
    assert "Exception" not in complaints


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "cloudevents", "openlineage"])
async def test_a_file_that_finds_no_room_is_not_there(
    home: Path, long: Tenant, tmp_path: Path, format: str
) -> None:
    """No file may grow beyond 8 KiB in the process that exports: it meets that as it meets a full disk."""
    process = await asyncio.create_subprocess_exec(
        *DAICHO, "export", "-t", long.tenant_id, "--format", format, "-o", str(tmp_path / "events"),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "DAICHO_HOME": str(home)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )  # fmt: skip
    async with asyncio.timeout(60):
        _, complaints = await process.communicate()
    assert process.returncode == 2
    assert "events cannot be written: File too large. Make room" in " ".join(complaints.decode().split())
    assert b"Traceback" not in complaints
    assert list(tmp_path.iterdir()) == []

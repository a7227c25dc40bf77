"""An export tells on standard error how far it is: a bar where that is a terminal, plain lines where not."""

import asyncio
import os
import pty
import re
from pathlib import Path

import pytest

from ledger import Settings, Tenant
from ledger.exports import FORMATS
from tests.bench.filling import RUN_EVENTS, fill
from tests.cli.test_progress_terminal import everything_on
from tests.support.command_line import DAICHO

EVENTS = 20_000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.mark.parametrize("format", FORMATS)
async def test_a_terminal_is_shown_how_far_it_is(
    home: Path, tenant: Tenant, tmp_path: Path, format: str
) -> None:
    await fill(tenant, EVENTS, RUN_EVENTS)
    terminal, theirs = pty.openpty()
    file = tmp_path / "events"
    process = await exporting(home, tenant, file, format, theirs)
    os.close(theirs)
    reading = asyncio.create_task(asyncio.to_thread(everything_on, terminal))
    async with asyncio.timeout(60):
        await process.communicate()
        shown = await reading
    os.close(terminal)
    assert process.returncode == 0, shown
    assert re.search(rf"exporting .* [\d,]+/{EVENTS:,} +[\d,]+ events/s +0:00:\d\d", shown), shown
    assert re.search(rf"{file.name}: \d+ events, positions 1 to {EVENTS}", shown.replace("\r\n", "")), shown


async def test_elsewhere_it_is_told_in_plain_lines(home: Path, tenant: Tenant, tmp_path: Path) -> None:
    await fill(tenant, EVENTS, RUN_EVENTS)
    process = await exporting(home, tenant, tmp_path / "events", "jsonl", asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        _, complaints = await process.communicate()
    lines = complaints.decode().splitlines()
    assert lines[0] == f"exporting: {EVENTS} events"
    assert lines[-1].endswith(f"{EVENTS} events, positions 1 to {EVENTS}")
    assert b"\x1b" not in complaints


async def exporting(
    home: Path, tenant: Tenant, file: Path, format: str, errors: int
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *DAICHO, "export", "-t", tenant.tenant_id, "--format", format, "-o", str(file),
        stderr=errors,
        env={**os.environ, "DAICHO_HOME": str(home), "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip

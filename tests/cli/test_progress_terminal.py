"""Where standard error is a terminal, a rebuild shows there its phase, how fast it is and the time left."""

import asyncio
import os
import pty
import re
from pathlib import Path

from ledger import Event, Tenant
from tests.support.command_line import DAICHO

EVENTS = 30_000


async def test_a_terminal_is_shown_phase_rate_and_time_left(home: Path, tenant: Tenant) -> None:
    for start in range(0, EVENTS, 1_000):
        await tenant.emitter.emit_many(
            [
                Event(event_type="step.started", run_id=f"run-{n % 700}", step_id=f"step-{n}",
                      tenant_id=tenant.tenant_id)
                for n in range(start, start + 1_000)
            ]
        )  # fmt: skip
    terminal, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *DAICHO, "rebuild", "-t", tenant.tenant_id, "--workers", "0",
        stdout=asyncio.subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "DAICHO_HOME": str(home), "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(theirs)
    reading = asyncio.create_task(asyncio.to_thread(everything_on, terminal))
    async with asyncio.timeout(60):
        printed, _ = await process.communicate()
        shown = await reading
    os.close(terminal)

    assert process.returncode == 0, shown
    assert f"{EVENTS} events folded".encode() in printed
    assert re.search(rf"folding .* [\d,]+/{EVENTS:,} [\d,]+ events/s 0:00:\d\d", shown), shown
    assert "building indexes" in shown
    assert "?" not in shown
    assert "Traceback" not in shown


def everything_on(terminal: int) -> str:
    """What was written there until nobody has it open any more, without what moves and colours."""
    said = b""
    while True:
        try:
            some = os.read(terminal, 65_536)
        except OSError:  # Linux says so of a terminal that nobody has open
            break
        if not some:
            break
        said += some
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())

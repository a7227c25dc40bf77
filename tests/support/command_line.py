"""The command line, called within the process of the tests, or as its user meets it: in one of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from ledger.cli import main

DAICHO = (sys.executable, "-c", "from ledger.cli import main; main()")


@asynccontextmanager
async def running(
    home: Path, *words: str, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of it, for a minute at most; it is ended where it goes on afterwards."""
    process = await asyncio.create_subprocess_exec(
        *DAICHO, *words,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "DAICHO_HOME": str(home), "COLUMNS": "200"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def next_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


class CommandLine:
    """`daicho` in a home. Each call is made in a thread, for a command has an event loop of its own."""

    def __init__(self, home: Path) -> None:
        self._runner = CliRunner(env={"DAICHO_HOME": str(home)})

    async def __call__(self, *words: str, given: bytes = b"") -> tuple[int, str]:
        """Its exit code and all it printed; `given` is its standard input."""
        done = await self.result(*words, given=given)
        return done.exit_code, done.output

    async def in_one_line(self, *words: str) -> tuple[int, str]:
        """The same, without the line breaks that a narrow terminal makes."""
        code, said = await self(*words)
        return code, " ".join(said.split())

    async def result(self, *words: str, given: bytes = b"") -> Result:
        return await asyncio.to_thread(self._runner.invoke, main, words, input=given, catch_exceptions=False)

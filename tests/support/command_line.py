"""The command line, called within the process of the tests."""

import asyncio
from pathlib import Path

from click.testing import CliRunner, Result

from ledger.cli import main


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

"""Commands in blocks that no test can run, for want of a second server or a process that ends, are ones that
there are, with options that they take: each is read as the command line reads it, and not carried out."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ledger.cli import main

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lines() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if language in {"", "sh"}:
                yield from ((page.name, line) for line in text.splitlines() if line.startswith("daicho "))


def read(line: str) -> None:
    """Raises click.UsageError where the command line would refuse it."""
    _, *words = shlex.split(line, comments=True)
    command: click.Command = main
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    command.make_context(command.name, words)


@pytest.mark.parametrize(("page", "line"), list(lines()))
def test_a_command_of_the_docs_is_one_that_there_is(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("acme.tar").touch()  # what the lines before have written
    read(line)


def test_the_pages_that_no_other_test_runs_have_such_commands() -> None:
    assert {page for page, _ in lines()} >= {"guards.md", "projections.md", "tenancy.md"}


@pytest.mark.parametrize(
    "line", ["daicho tenant praise acme", "daicho tenant list --nonsense", "daicho nothing"]
)
def test_a_command_that_there_is_not_is_refused(line: str) -> None:
    with pytest.raises(click.UsageError):
        read(line)

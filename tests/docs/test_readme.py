"""Every example of the README runs: its Python blocks one after the other in one program, then its
commands; what `make` is told to do exists."""

import ast
import inspect
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "".join(blocks("console")).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture(scope="module")
def readme_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="daicho-readme-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "home"


async def test_the_examples_run_in_the_order_they_are_read(
    readme_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAICHO_HOME", str(readme_home))
    namespace: dict[str, object] = {}
    for block in blocks("python"):
        code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            await result

    for command in commands():
        if not command.startswith("daicho "):
            continue
        environment = {**os.environ, "DAICHO_HOME": str(readme_home)}
        words = [str(Path(sys.executable).with_name("daicho")), *command.split()[1:]]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout.strip(), f"{command} printed nothing"


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("make ")])
def test_make_knows_what_the_readme_tells_to_make(command: str) -> None:
    planned = subprocess.run(
        [*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert planned.returncode == 0, planned.stderr


def test_every_command_of_daicho_is_documented() -> None:
    from ledger.cli import main

    documented = README + "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    missing = [
        name
        for name in main.list_commands(click.Context(main))
        if not re.search(rf"daicho {name}\b", documented)
    ]
    assert not missing, f"not in README.md or docs/: {missing}"

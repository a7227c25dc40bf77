"""Every example of these pages runs, in the order it is read: files are written, commands and Python run."""

import ast
import asyncio
import inspect
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ledger.cli import main
from ledger.control.embedded import EmbeddedPostgres

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"(?:^`([\w/.-]+)`:\n\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="daicho-guide-") as made:
        Path(made).chmod(0o711)
        with EmbeddedPostgres.start(Path(made) / "home"):
            yield Path(made)


GUIDES = ("audit.md", "blobs.md", "erasing.md", "exporting.md", "llm.md", "prompts.md")
ELSEWHERE = {"projections.md": "test_projections.py", "eventsourcing.md": "test_docs_example.py"}


def test_every_page_with_an_example_is_run() -> None:
    with_examples = {
        page.name
        for page in DOCS.glob("*.md")
        if re.search(r"^```(python|console)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert with_examples == {*GUIDES, *ELSEWHERE}
    tests = {path.name: path for path in DOCS.parent.glob("tests/**/test_*.py")}
    for page, test in ELSEWHERE.items():
        assert page in tests[test].read_text(encoding="utf-8")


@pytest.mark.parametrize("page", GUIDES)
async def test_a_guide_runs_as_it_is_read(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAICHO_HOME", str(folder / "home"))
    monkeypatch.setenv("DAICHO_TENANT", "acme")
    monkeypatch.chdir(folder)
    namespace: dict[str, object] = {}
    said = ""
    for path, language, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if path:
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")
        elif language == "python":
            await run_python(text, page, namespace)
        elif language == "console":
            said += "".join([await run_command(line[2:]) for line in text.splitlines()])
        else:
            assert language == "text"
            assert text in said, said


async def run_python(text: str, page: str, namespace: dict[str, object]) -> None:
    result = eval(compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), namespace)
    if inspect.isawaitable(result):
        await result


async def run_command(line: str) -> str:
    daicho, *words = shlex.split(line, comments=True)
    assert daicho == "daicho", line
    done = await asyncio.to_thread(CliRunner().invoke, main, words)
    assert done.exit_code == 0, f"{line}: {done.output}"
    assert done.output.strip(), f"{line} printed nothing"
    return done.output

"""docs/eventsourcing.md says what happens: its example is run, and `daicho tail` shows it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "eventsourcing.md"


@pytest.mark.usefixtures("postgres")
def test_the_example_prints_what_it_says_and_tail_shows_its_events(home: Path, tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [shown] = re.findall(r"\n\n```\n(.*?)```", text, re.DOTALL)
    example = tmp_path / "example.py"
    example.write_text(code, encoding="utf-8")

    assert _python(home, str(example)).strip() in text
    tail = _python(home, "-c", "from ledger.cli import main; main()", "tail", "--tenant", "press")

    assert _without_times_and_ids(tail) == _without_times_and_ids(shown)


def _python(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "DAICHO_HOME": str(home), "PYTHONPATH": str(DOCUMENT.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _without_times_and_ids(lines: str) -> str:
    return re.sub(r"  \d{4}-.*?  |/[0-9a-f-]{36}", "  ", lines).strip()

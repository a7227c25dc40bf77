"""Which files a demo takes, and how its runs are named."""

from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from ledger import Settings
from ledger.demo import main
from ledger.demo.errors import DemoExtraMissing, NoTexts
from ledger.demo.session import name_runs
from ledger.demo.texts import FILES_MAX, find_texts


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")


def test_without_a_folder_the_projects_own_texts_are_taken(tmp_path: Path) -> None:
    write(tmp_path, "README.md", "notes.md", "docs/deep/b.md", "docs/a.md", "docs/c.txt")
    assert find_texts(None, tmp_path).names == ("README.md", "docs/a.md", "docs/deep/b.md")


def test_of_a_folder_every_text_is_taken_but_hidden_ones(tmp_path: Path) -> None:
    write(tmp_path, "b.TXT", "a.md", "sub/c.md", ".git/d.md", "e.py")
    assert find_texts(tmp_path, Path("/")).names == ("a.md", "b.TXT", "sub/c.md")


def test_files_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    write(tmp_path, *(f"{number:03}.md" for number in range(FILES_MAX + 3)))
    found = find_texts(tmp_path, tmp_path)
    assert (len(found.names), found.left_out) == (FILES_MAX, 3)


@pytest.mark.parametrize("given", [True, False])
def test_no_text_is_an_error_that_says_what_to_give(tmp_path: Path, given: bool) -> None:
    with pytest.raises(NoTexts, match=r"Give a folder of \.md or \.txt files"):
        find_texts(tmp_path if given else None, tmp_path)


async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(main, "find_spec", lambda name: None)
    with pytest.raises(DemoExtraMissing, match=r"daicho\[demo"):
        await main.run_demo(Settings(home=tmp_path), None, Console())


def test_runs_are_named_after_their_files_and_told_apart() -> None:
    now = datetime(2026, 11, 24, 3, 15, 0)
    assert name_runs(("README.md", "docs/readme.md", "docs/日本.md"), now, "ab12") == (
        "readme-20261124-031500-ab12",
        "readme-2-20261124-031500-ab12",
        "text-20261124-031500-ab12",
    )

"""Texts: the files a demo works on, found in a folder that was given or in the current one."""

from dataclasses import dataclass
from pathlib import Path

from ledger.demo.errors import NoTexts

FILES_MAX = 40
FILE_BYTES_MAX = 256 * 1024
SUFFIXES = frozenset({".md", ".txt"})
_USUAL = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")


@dataclass(frozen=True)
class Texts:
    """`names` are relative to `folder`, sorted; `left_out` counts those beyond the first 40."""

    folder: Path
    names: tuple[str, ...]
    left_out: int = 0

    def path(self, name: str) -> Path:
        return self.folder / name


def find_texts(folder: Path | None, current: Path) -> Texts:
    """Every .md and .txt file below `folder`; without one, the project's own texts in `current`:
    README.md, ARCHITECTURE.md, CHANGELOG.md and docs/**/*.md. Raises NoTexts where there are none."""
    root = current if folder is None else folder
    names = _usual(current) if folder is None else _below(folder)
    if not names:
        raise NoTexts(
            "There is no text to work on",
            expected="README.md, ARCHITECTURE.md, CHANGELOG.md or docs/**/*.md here"
            if folder is None
            else f"at least one .md or .txt file in {str(folder)!r}",
            fix="Give a folder of .md or .txt files: daicho demo FOLDER",
        )
    return Texts(root, tuple(names[:FILES_MAX]), max(len(names) - FILES_MAX, 0))


def _usual(current: Path) -> list[str]:
    docs = [f"docs/{name}" for name in _below(current / "docs") if name.lower().endswith(".md")]
    return [name for name in _USUAL if (current / name).is_file()] + docs


def _below(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    visible = (path for path in found if not any(part.startswith(".") for part in path.parts))
    return sorted(path.as_posix() for path in visible if (folder / path).is_file())

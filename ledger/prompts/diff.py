"""What differs between two versions of a prompt pack, prompt by prompt. Pure."""

import difflib
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ledger.prompts.files import prompt_file_text
from ledger.prompts.loading import PromptPack

NO_NEWLINE = "\\ No newline at end of file"  # as diff(1) says it


@dataclass(frozen=True)
class PromptChange:
    """`diff` is a unified diff of the prompt as a file, front matter and all, its lines without ends."""

    name: str
    change: Literal["added", "removed", "changed"]
    diff: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "diff": "\n".join(self.diff)}


def changes_between(old: PromptPack, new: PromptPack) -> list[PromptChange]:
    """In order of name; a prompt that is alike in both, its description included, is not in it."""
    found: list[PromptChange] = []
    for name in sorted(old.prompts.keys() | new.prompts.keys()):
        before, after = _lines(old, name), _lines(new, name)
        if before == after:
            continue
        told = difflib.unified_diff(before, after, _label(old, name), _label(new, name), lineterm="")
        change: Literal["added", "removed", "changed"] = (
            "added" if not before else "removed" if not after else "changed"
        )
        found.append(PromptChange(name, change, tuple(told)))
    return found


def _lines(pack: PromptPack, name: str) -> list[str]:
    if name not in pack.prompts:
        return []
    text = prompt_file_text(name, pack.descriptions.get(name), pack.prompts[name])
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else [*lines, NO_NEWLINE]


def _label(pack: PromptPack, name: str) -> str:
    return f"{pack.pack_id}/{name}.md version {pack.version}" if name in pack.prompts else "/dev/null"

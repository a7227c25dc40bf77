"""Prompt files: one prompt each, UTF-8, with front matter that names it and declares its variables.

    ---
    name: outline
    description: Sections and the points they make, from a title and keywords.
    variables: [title, keywords]
    ---
    Write an outline for an article titled "$title".

The front matter is a part of YAML that needs no YAML parser: the three keys above and nothing else, text
plain or quoted, and a list of names in brackets or with one `- name` a line. What YAML would or might read
as something else than text (`yes`, `1.0`, `a: b`) is refused, to be quoted. `\\r\\n` is read as `\\n`.
"""

import contextlib
import json
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ledger.errors import InvalidPromptPack

FENCE = "---"
PROMPT_FILE_BYTES_MAX = 64 * 1024  # more than an event holds
PROMPT_FILES_MAX = 1_000
KEYS = ("name", "description", "variables")

_PLAIN = re.compile(r"[^\s\d\[\]{}&*!|>'\"%@`#,?:~<=.+-](?:[^:#]|:(?!\s|$)|(?<!\s)#)*")
_NOT_TEXT = re.compile(r"true|false|yes|no|on|off|null", re.IGNORECASE)
_VARIABLE = re.compile(r"[_a-z][_a-z0-9]*", re.ASCII | re.IGNORECASE)  # as string.Template has it


@dataclass(frozen=True)
class PromptFile:
    """`variables` are in the order of their declaration; `template` is what follows the front matter."""

    name: str
    description: str
    variables: tuple[str, ...]
    template: str


@dataclass(frozen=True)
class PromptTexts:
    """What one version of a pack says, by the prompts' names: their templates, and what they are for, where
    that is told."""

    prompts: Mapping[str, str]
    descriptions: Mapping[str, str]


def read_prompt_folder(folder: Path) -> PromptTexts:
    """The folder's `.md` files. Raises InvalidPromptPack, which names the file and the line."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".md")
        if len(paths) > PROMPT_FILES_MAX:
            raise InvalidPromptPack(
                f"{folder} holds {len(paths)} .md files", expected=f"at most {PROMPT_FILES_MAX}"
            )
        files = [(str(path), _text_of(path)) for path in paths]
    except OSError as error:
        raise InvalidPromptPack(
            f"{error.filename or folder} cannot be read: {error.strerror}",
            expected="a folder of .md files",
            fix="Name one",
        ) from error
    if not files:
        raise InvalidPromptPack(
            f"There is no .md file in {folder}", expected="one per prompt", fix="Name another folder"
        )
    return prompts_of(files)


def prompts_of(files: Iterable[tuple[str, str]]) -> PromptTexts:
    """The prompts of several files, each given by its path and its text. Raises InvalidPromptPack."""
    found: dict[str, PromptFile] = {}
    paths: dict[str, str] = {}
    for path, text in files:
        prompt = parse_prompt_file(text, path)
        if prompt.name in found:
            raise InvalidPromptPack(
                f"{path} and {paths[prompt.name]} are both named {prompt.name!r}",
                expected="a name of its own in each front matter",
            )
        found[prompt.name], paths[prompt.name] = prompt, path
    return PromptTexts(
        {name: found[name].template for name in sorted(found)},
        {name: found[name].description for name in sorted(found)},
    )


def parse_prompt_file(text: str, path: str) -> PromptFile:
    """Raises InvalidPromptPack, which names `path` and the line."""
    head, template = _parted(text.replace("\r\n", "\n"), path)
    said = _Head(path).read(head)
    variables = said["variables"]
    name, description = said["name"], said["description"]
    assert isinstance(name, str)
    assert isinstance(description, str)
    assert isinstance(variables, tuple)
    _expect_declared(template, variables, path)
    return PromptFile(name, description, variables, template)


def variables_of(template: str) -> tuple[str, ...]:
    """The names of a template's `$variables`, in order of appearance."""
    return tuple(string.Template(template).get_identifiers())


def stray_dollar(template: str) -> int | None:
    """The line, from 1, of a `$` that begins no variable and is not written `$$`; None: there is none."""
    for match in string.Template.pattern.finditer(template):
        if match.group("invalid") is not None:
            return template.count("\n", 0, match.start()) + 1
    return None


def prompt_file_text(name: str, description: str | None, template: str) -> str:
    """The prompt as a file that reads back as the same. Without a description it has no such line."""
    said = [f"name: {_quoted(name)}"]
    if description is not None:
        said.append(f"description: {_quoted(description)}")
    said.append(f"variables: [{', '.join(map(_quoted, variables_of(template)))}]")
    return "\n".join([FENCE, *said, FENCE, template])


def _parted(text: str, path: str) -> tuple[list[str], str]:
    """The lines of the front matter, and the template."""
    first, _, rest = text.partition("\n")
    if first.rstrip() != FENCE:
        raise InvalidPromptPack(
            f"{path} has no front matter",
            expected=f"a first line {FENCE!r}, then {', '.join(KEYS)}, then {FENCE!r} again",
            found=f"a first line {first[:40]!r}",
            fix="Name the prompt and declare its variables; nothing was recorded",
        )
    lines = rest.split("\n")
    for number, line in enumerate(lines):
        if line.rstrip() == FENCE:
            return lines[:number], "\n".join(lines[number + 1 :])
    raise InvalidPromptPack(
        f"The front matter of {path} does not end", expected=f"a line {FENCE!r} after it", fix="Close it"
    )


class _Head:
    """The lines between the fences, read one after the other."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._number = 1
        self._said: dict[str, str | tuple[str, ...]] = {}

    def read(self, lines: list[str]) -> dict[str, str | tuple[str, ...]]:
        in_list = False
        for self._number, line in enumerate(lines, 2):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            if stripped.startswith("- ") and in_list:
                listed = self._said["variables"]
                assert isinstance(listed, tuple)
                self._said["variables"] = self._variables([*listed, self._text(stripped[2:].strip())])
                continue
            in_list = self._key(line)
        if missing := [key for key in KEYS if key not in self._said]:
            self._refuse(f"does not say {' and '.join(missing)}", f"the keys {', '.join(KEYS)}")
        return self._said

    def _key(self, line: str) -> bool:
        """Reads `key: value`; True where a list of `- name` lines may follow."""
        key, colon, value = line.partition(":")
        value = value.strip(" ")
        if not colon or key not in KEYS:
            self._refuse(f"has {line[:60]!r}", f"one of {', '.join(f'{each}: …' for each in KEYS)}")
        if key in self._said:
            self._refuse(f"says {key} twice", "each key once")
        if key != "variables":
            self._said[key] = self._text(value)
            return False
        self._said[key] = () if not value else self._variables(self._flow(value))
        return not value

    def _flow(self, value: str) -> list[str]:
        inside = re.fullmatch(r"\[([^\[\]]*)\]", value)
        if inside is None:
            self._refuse(f"has the variables {value[:60]!r}", "a list: [title, keywords]")
        items = inside[1].strip()
        return [self._text(item.strip()) for item in items.split(",")] if items else []

    def _text(self, value: str) -> str:
        """A plain or quoted text of one line."""
        text: object = None
        if value.startswith('"'):
            with contextlib.suppress(json.JSONDecodeError):
                text = json.loads(value)  # what JSON quotes, YAML reads alike
        elif re.fullmatch(r"'(?:[^']|'')*'", value):
            text = value[1:-1].replace("''", "'")
        elif _is_plain(value):
            text = value
        if not value.isprintable() or not isinstance(text, str) or not text.strip():
            self._refuse(f"has {value[:60]!r}", "text on one line; quote what YAML would read otherwise")
        return text

    def _variables(self, names: list[str]) -> tuple[str, ...]:
        for name in names:
            if not _VARIABLE.fullmatch(name):
                self._refuse(f"declares {name[:60]!r}", "variables of letters, digits and _ without a $")
            if names.count(name) > 1:
                self._refuse(f"declares {name!r} twice", "each variable once")
        return tuple(names)

    def _refuse(self, problem: str, expected: str) -> NoReturn:
        raise InvalidPromptPack(
            f"The front matter of {self._path} {problem} (line {self._number})",
            expected=expected,
            fix="Correct it; nothing was recorded",
        )


def _expect_declared(template: str, declared: tuple[str, ...], path: str) -> None:
    used = variables_of(template)
    undeclared = [name for name in used if name not in declared]
    unused = [name for name in declared if name not in used]
    if undeclared or unused:
        told = [f"uses undeclared {', '.join(undeclared)}"] if undeclared else []
        told += [f"declares unused {', '.join(unused)}"] if unused else []
        raise InvalidPromptPack(
            f"{path} {' and '.join(told)}",
            expected="the variables of the front matter, and only they, as $name in the prompt",
            fix="Correct the one or the other (a $ of its own is written $$); nothing was recorded",
        )


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(PROMPT_FILE_BYTES_MAX + 1)
    if len(content) > PROMPT_FILE_BYTES_MAX:
        raise InvalidPromptPack(
            f"{path} is too large for a prompt", expected=f"at most {PROMPT_FILE_BYTES_MAX} bytes in all"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidPromptPack(f"{path} is not UTF-8", fix="Save it as UTF-8") from None


def _is_plain(text: str) -> bool:
    """Whether YAML reads it, unquoted, as just this text."""
    return _PLAIN.fullmatch(text) is not None and not _NOT_TEXT.fullmatch(text)


def _quoted(text: str) -> str:
    if text.isprintable() and text == text.strip() and _is_plain(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in quoted)

"""What changed between two bodies: text as a unified diff, JSON as a list of operations at JSON pointers
(RFC 6901). Pure, and bounded: what does not fit is counted, not shown.

JSON is compared by structure where that tells all of it. Two texts of the same values, and what is no plain
JSON (NaN, a key given twice, a lone surrogate, nested too deep), are compared as the texts they are.
"""

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from projections.audit.answers import Answer

BODY_BYTES_MAX = 1024 * 1024
TEXT_LINES_MAX = 20_000
ITEMS_MAX = 2_000
LINES_SHOWN_MAX = 400
OPERATIONS_SHOWN_MAX = 200
VALUE_CHARS_MAX = 400
CONTEXT_CHARS = 60
DEPTH_MAX = 100
NO_LINE_END = "\\ No newline at end of file"

Kind = Literal["same", "text", "json", "binary", "too_large", "missing", "corrupt"]


class Operation(Answer):
    """`before` and `after` are JSON texts, None where there is nothing; of long ones 400 characters, from a
    little before where they differ."""

    op: Literal["add", "remove", "replace"]
    path: str
    before: str | None = None
    after: str | None = None


class BodyChange(Answer):
    """`lines` is a unified diff (`text`), of long lines 400 characters; `operations` lead from before to
    after (`json`); `hidden` counts those left out. Of `binary` bodies and those over 1 MiB
    only sizes are told; what is stored no more (`missing`) or is not what its digest says (`corrupt`) has
    none."""

    kind: Kind
    before_bytes: int | None
    after_bytes: int | None
    lines: list[str] = Field(default_factory=list)
    operations: list[Operation] = Field(default_factory=list)
    hidden: int = 0


def body_change(before: bytes | None, after: bytes | None, content_type: str) -> BodyChange:
    """None stands for a body that is not there (any more)."""
    sizes = {
        "before_bytes": None if before is None else len(before),
        "after_bytes": None if after is None else len(after),
    }
    if before is None or after is None:
        return BodyChange(kind="missing", **sizes)
    if before == after:
        return BodyChange(kind="same", **sizes)
    if max(len(before), len(after)) > BODY_BYTES_MAX:
        return BodyChange(kind="too_large", **sizes)
    if _is_json(content_type) and (parsed := _parsed(before, after)) is not None:
        operations = list(json_operations(*parsed))
        if operations:
            shown = operations[:OPERATIONS_SHOWN_MAX]
            return BodyChange(kind="json", operations=shown, hidden=len(operations) - len(shown), **sizes)
    texts = _texts(before, after)
    if texts is None:
        return BodyChange(kind="binary", **sizes)
    if max(map(len, texts)) > TEXT_LINES_MAX:
        return BodyChange(kind="too_large", **sizes)
    lines = list(difflib.unified_diff(*texts, "before", "after", lineterm=""))
    shown_lines = _shortened(lines[:LINES_SHOWN_MAX])
    return BodyChange(kind="text", lines=shown_lines, hidden=max(0, len(lines) - LINES_SHOWN_MAX), **sizes)


def json_operations(before: Any, after: Any, path: str = "") -> Iterator[Operation]:
    """What leads from one JSON value to the other, each list and object gone into. In lists, indexes are
    those of `before` for what goes and of `after` for what comes."""
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _of_objects(before, after, path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, path)
    elif _text(before) != _text(after):
        one, other = _where_they_differ(_text(before), _text(after))
        yield Operation(op="replace", path=path, before=one, after=other)


def _of_objects(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[Operation]:
    for key in sorted(before.keys() | after.keys()):
        below = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
        if key not in after:
            yield Operation(op="remove", path=below, before=_shown(before[key]))
        elif key not in before:
            yield Operation(op="add", path=below, after=_shown(after[key]))
        else:
            yield from json_operations(before[key], after[key], below)


def _of_lists(before: list[Any], after: list[Any], path: str) -> Iterator[Operation]:
    for old, new in _changed_ranges(before, after):
        paired = min(len(old), len(new))
        for one, other in zip(old[:paired], new[:paired], strict=True):
            yield from json_operations(before[one], after[other], f"{path}/{other}")
        for one in old[paired:]:
            yield Operation(op="remove", path=f"{path}/{one}", before=_shown(before[one]))
        for other in new[paired:]:
            yield Operation(op="add", path=f"{path}/{other}", after=_shown(after[other]))


def _changed_ranges(before: list[Any], after: list[Any]) -> Iterator[tuple[range, range]]:
    if max(len(before), len(after)) > ITEMS_MAX:
        yield range(len(before)), range(len(after))
        return
    one, other = [_text(item) for item in before], [_text(item) for item in after]
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if tag != "equal":
            yield range(i1, i2), range(j1, j2)


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _parsed(before: bytes, after: bytes) -> tuple[Any, Any] | None:
    """None where one of them is no JSON: what was to be repaired often is none, and is text then."""
    try:
        return _value(before), _value(after)
    except (ValueError, RecursionError):
        return None


def _value(body: bytes) -> Any:
    """Integers as they stand, however long. Raises ValueError for what could not be told by structure."""
    value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_refuse)
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise ValueError("nested too deep")
    _text(value).encode()  # lone surrogates
    return value


def _inside(value: Any) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _texts(before: bytes, after: bytes) -> tuple[Sequence[str], Sequence[str]] | None:
    if b"\x00" in before or b"\x00" in after:
        return None
    try:
        texts = before.decode(), after.decode()
    except UnicodeDecodeError:
        return None
    # What else ends lines stays in them, and where one of the last lines alone has an end, that is told as
    # `diff` does: so texts that differ have lines that do.
    one, other = (text.removesuffix("\n").split("\n") if text else [] for text in texts)
    unended = [bool(text) and not text.endswith("\n") for text in texts]
    if unended[0] != unended[1]:
        (one if unended[0] else other).append(NO_LINE_END)
    return one, other


def _shortened(lines: list[str]) -> list[str]:
    """Long lines, each beside the one that replaced it, from a little before they differ."""
    shown = list(lines)
    removed: list[int] = []
    for place, line in enumerate(lines):
        if line.startswith("-"):
            removed.append(place)
        elif line.startswith("+") and removed:
            other = removed.pop(0)
            one, two = _where_they_differ(lines[other][1:], line[1:])
            shown[other], shown[place] = f"-{one}", f"+{two}"
        else:
            removed = []
    return [line if len(line) <= VALUE_CHARS_MAX + 3 else f"{line[0]}{_cut(line[1:], 0)}" for line in shown]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _where_they_differ(before: str, after: str) -> tuple[str, str]:
    """Long texts are shown from a little before the first character that differs."""
    pairs = enumerate(zip(before, after, strict=False))
    common = next((place for place, (one, other) in pairs if one != other), min(len(before), len(after)))
    start = max(0, common - CONTEXT_CHARS) if max(len(before), len(after)) > VALUE_CHARS_MAX else 0
    return _cut(before, start), _cut(after, start)


def _cut(text: str, start: int) -> str:
    end = start + VALUE_CHARS_MAX
    return f"{'…' if start else ''}{text[start:end]}{'…' if len(text) > end else ''}"


def _shown(value: Any) -> str:
    return _cut(_text(value), 0)

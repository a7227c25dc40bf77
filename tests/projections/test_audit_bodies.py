"""What changed inside bodies that are no plain JSON, no plain text, or not there: told as what they are."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobstore import Digest, parse_digest
from ledger import Tenant
from ledger.cli.answers.changes import change_lines
from projections.audit import AuditQueries
from projections.audit.bodies import (
    BODY_BYTES_MAX,
    DEPTH_MAX,
    NO_LINE_END,
    VALUE_CHARS_MAX,
    BodyChange,
    body_change,
)

JSON = "application/json"


def _shown(change: BodyChange) -> str:
    return "\n".join(line.plain for line in change_lines(change))


def test_integers_are_compared_as_they_stand_however_long() -> None:
    change = body_change(b'{"id": 12345678901234567890123}', b'{"id": 12345678901234567890124}', JSON)
    [operation] = change.operations
    assert (operation.before, operation.after) == ("12345678901234567890123", "12345678901234567890124")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a": 1}', '{"a":1}'),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
        ('{"a": 0.10}', '{"a": 0.1}'),
        ('{"a": 1e999}', '{"a": 1e998}'),
        ('{"a": "\\u0041"}', '{"a": "A"}'),
    ],
)
def test_json_of_equal_values_is_compared_as_the_text_that_differs(before: str, after: str) -> None:
    change = body_change(before.encode(), after.encode(), JSON)
    assert (change.kind, change.lines[3:]) == ("text", [f"-{before}", f"+{after}"])


@pytest.mark.parametrize(
    "odd",
    [
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1, "a": 2}',
        '{"a": "\\ud800"}',
        "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1),
        "[" * 100_000 + "]" * 100_000,
        '{"a": ' + "9" * 5_000 + "}",
        "\N{ZERO WIDTH NO-BREAK SPACE}{}",
        "",
        "{",
    ],
    ids=lambda odd: odd[:20],
)
def test_what_structure_cannot_tell_is_compared_as_text(odd: str) -> None:
    for before, after in ((odd, "{}"), ("{}", odd)):
        change = body_change(before.encode(), after.encode(), JSON)
        assert change.kind == "text"
        assert BodyChange.model_validate_json(change.model_dump_json()) == change
        assert _shown(change)


def test_json_as_deep_as_is_compared_by_structure_has_its_pointer() -> None:
    deep = "[" * (DEPTH_MAX - 1) + "%d" + "]" * (DEPTH_MAX - 1)
    [operation] = body_change((deep % 1).encode(), (deep % 2).encode(), JSON).operations
    assert (operation.path, operation.before, operation.after) == ("/0" * (DEPTH_MAX - 1), "1", "2")


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("a\n", "a", [" a", f"+{NO_LINE_END}"]),
        ("a", "a\n", [" a", f"-{NO_LINE_END}"]),
        ("a\r\nb\n", "a\nb\n", ["-a\r", "+a", " b"]),
        ("a\u2028b", "a b", ["-a\u2028b", "+a b"]),
        ("", "a\n", ["+a"]),
        ("a\n\n", "a\n", [" a", "-"]),
    ],
)
def test_line_ends_that_differ_are_told(before: str, after: str, lines: list[str]) -> None:
    change = body_change(before.encode(), after.encode(), "text/plain")
    assert (change.kind, change.lines[3:]) == ("text", lines)
    assert "\r" not in _shown(change)


@given(st.text(max_size=12), st.text(max_size=12), st.sampled_from([JSON, "text/plain"]))
def test_bodies_that_differ_always_have_something_to_show(one: str, other: str, content_type: str) -> None:
    before, after = (text.encode("utf-8", "surrogatepass") for text in (one, other))
    change = body_change(before, after, content_type)
    assert bool(_shown(change))
    if change.kind == "text":
        assert change.lines[3:]
    assert (change.kind == "same") == (before == after)


def test_of_long_lines_the_part_that_differs_is_shown() -> None:
    body = json.dumps({"text": "x" * 50_000})
    broken, whole = body[:-1], body
    change = body_change(broken.encode(), whole.encode(), JSON)
    removed, added = change.lines[3:]
    assert max(map(len, change.lines)) <= VALUE_CHARS_MAX + 3
    assert (removed[-3:], added[-4:]) == ('xx"', 'xx"}')


def test_what_is_no_utf_8_is_measured() -> None:
    change = body_change(b"caf\xe9", b"caf\xc3\xa9", "text/plain")
    assert (change.kind, change.before_bytes, change.after_bytes) == ("binary", 4, 5)
    assert "neither text nor JSON (4 bytes -> 5 bytes)" in _shown(change)


async def test_a_body_that_is_gone_wrong_or_huge_is_part_of_the_answer(
    tenant: Tenant, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the events say of its size; and what can be compared beside it is."""
    tag = tenant.tenant_id.encode()
    async with tenant.run("r", prompt_pack="mock_pack") as run, run.step("draft") as step:
        names = ("gone", "wrong", "huge", "fine")
        bodies = {name: tag + name.encode() for name in names} | {"huge": tag + b"x" * BODY_BYTES_MAX}
        refs = {name: await step.put(body, f"{name}.txt", is_output=False) for name, body in bodies.items()}
        end = await step.put(tag + b"end", "end.txt")
        refs["huge"] = refs["huge"].model_copy(update={"size_bytes": 1})
        for name in names:
            await step.repaired(kind=name, before=refs[name], after=end)
    await tenant.blobs.delete(parse_digest(refs["gone"].digest))
    [file] = [path for path in home.rglob(refs["wrong"].digest) if path.is_file()]
    file.chmod(0o600)
    file.write_bytes(b"something else")

    asked, get = list[str](), tenant.blobs.get

    async def noted(digest: Digest) -> bytes:
        asked.append(digest)
        return await get(digest)

    monkeypatch.setattr(tenant.blobs, "get", noted)
    repairs = (await AuditQueries(tenant).explain("r", "draft", bodies=True)).repairs
    assert refs["fine"].digest in asked
    assert refs["huge"].digest not in asked, "it would be in memory whole"
    changes = {repair.kind: repair.change for repair in repairs}
    told = {kind: (change.kind, change.before_bytes) for kind, change in changes.items() if change}
    assert told == {
        "gone": ("missing", None),
        "wrong": ("corrupt", None),
        "huge": ("too_large", len(bodies["huge"])),
        "fine": ("text", len(bodies["fine"])),
    }
    assert changes["wrong"]
    assert "NOT what its digest says" in _shown(changes["wrong"])

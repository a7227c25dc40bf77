"""What is said comes first, then the name's extension, then the kind of content."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from ledger.bodies.body import Content, body_of

MARKDOWN = "text/markdown; charset=utf-8"


class Model(BaseModel):
    title: str = "x"


async def stream() -> AsyncIterator[bytes]:
    yield b"x"


@pytest.mark.parametrize(
    ("content", "name", "said", "expected"),
    [
        (b"x", "outline.json", "text/x-own", "text/x-own"),
        (b"x", "outline.json", None, "application/json"),
        ("# Title", "DRAFT.MD", None, MARKDOWN),
        ({"a": 1}, "notes.md", None, MARKDOWN),
        (Path("page.html"), "draft.md", None, MARKDOWN),
        (b"x", "output", None, "application/octet-stream"),
        ("x", "output", None, "text/plain; charset=utf-8"),
        (Model(), "output", None, "application/json"),
        ([1, 2], "output", None, "application/json"),
        (None, "output", None, "application/json"),
        (Path("page.html"), "output", None, "text/html; charset=utf-8"),
        (Path("page"), "output", None, "application/octet-stream"),
        (stream(), "output", None, "application/octet-stream"),
        (b"x", "outline.json.of-today", None, "application/octet-stream"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str | bytes) else ascii(value)[:20],
)
def test_the_first_that_knows_says(content: Content, name: str, said: str | None, expected: str) -> None:
    assert body_of(content, name, said).content_type == expected


def test_only_a_stream_cannot_be_read_twice() -> None:
    contents: list[Content] = [b"x", "x", {}, Path("x"), Model(), stream()]
    assert [body_of(content, "x").is_repeatable for content in contents] == [True] * 5 + [False]

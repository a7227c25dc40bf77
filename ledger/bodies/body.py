"""Body: what a caller handed over to be stored, ready for a blob store.

A body's content type is, in this order: what was said; what the name's extension says; what the kind of
content says: text for str, JSON for values and models, what a file's own name says, bytes otherwise.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel

from ledger.bodies.canonical_json import canonical_json
from ledger.bodies.content_types import BYTES, JSON, TEXT, content_type_of_name
from ledger.errors import InvalidArtifact

FILE_BLOCK_BYTES = 1 << 20

Stored: TypeAlias = bytes | AsyncIterable[bytes]
Content: TypeAlias = (
    Stored | str | Path | BaseModel | Mapping[str, Any] | Sequence[Any] | int | float | bool | None
)
"""bytes; text, stored as UTF-8; the path of a file; an async iterator of bytes; or a pydantic model or JSON
value, stored as canonical JSON."""


@dataclass(frozen=True)
class Body:
    """`open` gives the bytes, or a stream of them; a second time only where the body `is_repeatable`."""

    content_type: str
    open: Callable[[], Stored]
    is_repeatable: bool = True


def body_of(content: Content, name: str, content_type: str | None = None) -> Body:
    """Raises InvalidArtifact for what cannot be stored. A file is looked at when its body is opened, so
    one that is not there raises it then."""
    said = content_type_of_name(name) if content_type is None else content_type

    def body(kind: str, open: Callable[[], Stored], is_repeatable: bool = True) -> Body:
        return Body(kind if said is None else said, open, is_repeatable)

    if isinstance(content, bytes):
        return body(BYTES, lambda: content)
    if isinstance(content, str):
        text = _encoded(content)
        return body(TEXT, lambda: text)
    if isinstance(content, Path):
        return body(content_type_of_name(content.name) or BYTES, lambda: _blocks_of(content))
    if isinstance(content, AsyncIterable):
        return body(BYTES, lambda: content, is_repeatable=False)
    json = _as_json(content)
    return body(JSON, lambda: json)


class Measured:
    """What is stored, and how many bytes of it went by."""

    def __init__(self, stored: Stored) -> None:
        self.size_bytes = len(stored) if isinstance(stored, bytes) else 0
        self.stored: Stored = stored if isinstance(stored, bytes) else self._counted(stored)

    async def _counted(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self.size_bytes += len(chunk)
            yield chunk


async def _blocks_of(path: Path) -> AsyncIterator[bytes]:
    try:
        with await asyncio.to_thread(path.open, "rb") as file:
            while block := await asyncio.to_thread(file.read, FILE_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise InvalidArtifact(
            f"The file {str(path)!r} cannot be read: {error.strerror}",
            expected="a file that this process may read",
            fix="Correct the path; nothing was recorded",
        ) from error


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArtifact(
            f"The artifact's text cannot be written as UTF-8: {error.reason} at {error.start}",
            expected="text without lone surrogates",
            fix="Correct the text, or store bytes; nothing was written",
        ) from None


def _as_json(value: Any) -> bytes:
    try:
        return canonical_json(value)
    except ValueError as problem:
        raise InvalidArtifact(
            f"The artifact cannot be written as JSON: {problem}",
            expected="bytes, text, a path, an async iterator of bytes, a pydantic model or a JSON value",
            fix="Correct or convert it; nothing was written",
        ) from None

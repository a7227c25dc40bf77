"""A *digest* is the sha256 (FIPS 180-4) of a blob's bytes, as 64 lower-case hexadecimal digits.

It is the blob's only name, so it is checked wherever one comes in: what passes `parse_digest` holds no slash,
no dot and no newline, and may stand in a path or an object's key.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import NewType

from blobstore.errors import InvalidDigest

Digest = NewType("Digest", str)
"""64 lower-case hexadecimal digits. Made by `digest_of` and `parse_digest` only."""

_SHAPE = re.compile(r"[0-9a-f]{64}")
_BEGINNING = re.compile(r"[0-9a-f]{0,64}")


def digest_of(content: bytes) -> Digest:
    """The digest of these bytes. Takes about 0.6 ms per MiB."""
    return Digest(hashlib.sha256(content).hexdigest())


def digest_of_chunks(chunks: Iterable[bytes]) -> Digest:
    """The digest of the chunks' concatenation, holding one chunk in memory at a time."""
    running = hashlib.sha256()
    for chunk in chunks:
        running.update(chunk)
    return Digest(running.hexdigest())


def parse_digest(text: str) -> Digest:
    """The text, as a Digest. Raises InvalidDigest unless it is 64 lower-case hexadecimal digits."""
    if not isinstance(text, str) or not _SHAPE.fullmatch(text):
        raise InvalidDigest(
            "This is no blob's digest",
            expected="64 lower-case hexadecimal digits (sha256)",
            found=ascii(text)[:80],
        )
    return Digest(text)


def parse_digest_prefix(text: str) -> str:
    """The text, if a digest can begin with it; no text at all begins every digest. Raises InvalidDigest."""
    if not isinstance(text, str) or not _BEGINNING.fullmatch(text):
        raise InvalidDigest(
            "No blob's digest begins like this",
            expected="at most 64 lower-case hexadecimal digits",
            found=ascii(text)[:80],
        )
    return text

"""Two bodies fetched from the store and compared; what is wrong with one of them is part of the answer."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from blobstore import BlobCorrupt, BlobNotFound, BlobStore, parse_digest
from ledger.contract.artifact_ref import ArtifactRef
from projections.audit.bodies import BODY_BYTES_MAX, BodyChange, body_change

Wrong = Literal["corrupt", "missing", "too_large"]
_WORST_FIRST: tuple[Wrong, ...] = ("corrupt", "missing", "too_large")


@dataclass(frozen=True, slots=True)
class _Body:
    """`content`, or why there is none; of what is stored its size."""

    content: bytes | None
    size: int | None
    wrong: Wrong | None = None


async def fetched_change(blobs: BlobStore, before: ArtifactRef, after: ArtifactRef) -> BodyChange:
    """What differs between two artifacts' bodies; they are read as what `after` is said to be."""
    one, other = await _body(blobs, before), await _body(blobs, after)
    for wrong in _WORST_FIRST:
        if wrong in (one.wrong, other.wrong):
            return BodyChange(kind=wrong, before_bytes=one.size, after_bytes=other.size)
    return await asyncio.to_thread(body_change, one.content, other.content, after.content_type)


async def _body(blobs: BlobStore, ref: ArtifactRef) -> _Body:
    """How large it is the store says: an event may be wrong."""
    digest = parse_digest(ref.digest)
    try:
        size = (await blobs.stat(digest)).size_bytes
        if size > BODY_BYTES_MAX:
            return _Body(None, size, "too_large")
        return _Body(await blobs.get(digest), size)
    except BlobNotFound:
        return _Body(None, None, "missing")
    except BlobCorrupt:
        return _Body(None, None, "corrupt")

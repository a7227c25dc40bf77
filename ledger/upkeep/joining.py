"""What events say and what a store lists, side by side: two sequences in the order of digests, merged."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from blobstore import BlobStat, Digest
from ledger.errors import ListingOutOfOrder

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pair(Generic[T]):
    """One digest. `said` is what events say of it, `blob` what the store lists; one of them may be None."""

    digest: Digest
    said: T | None
    blob: BlobStat | None


async def joined(said: Iterable[tuple[Digest, T]], listed: AsyncIterator[BlobStat]) -> AsyncIterator[Pair[T]]:
    """Both must be in the order of digests, each digest once. Raises ListingOutOfOrder where the store's is
    not: what is listed too late would look like garbage."""
    mine = iter(said)
    next_said = next(mine, None)
    last = ""
    async for blob in listed:
        if blob.digest <= last:
            raise ListingOutOfOrder(
                "The blob store lists its blobs out of order",
                expected=f"a digest after {last}",
                found=blob.digest,
                fix="Nothing of this was acted on. Report it with the kind of server",
            )
        last = blob.digest
        while next_said is not None and next_said[0] < blob.digest:
            yield Pair(next_said[0], next_said[1], None)
            next_said = next(mine, None)
        if next_said is not None and next_said[0] == blob.digest:
            yield Pair(blob.digest, next_said[1], blob)
            next_said = next(mine, None)
        else:
            yield Pair(blob.digest, None, blob)
    while next_said is not None:
        yield Pair(next_said[0], next_said[1], None)
        next_said = next(mine, None)

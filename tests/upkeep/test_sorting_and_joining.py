"""References on disk in order, and beside what a store lists."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobstore import BlobStat, Digest
from ledger.errors import ListingOutOfOrder
from ledger.upkeep.joining import joined
from ledger.upkeep.sorting import RecordSorter

few_digests = st.sets(st.integers(0, 30).map(lambda number: Digest(f"{number:064x}")))


@given(st.lists(st.binary(min_size=4, max_size=4)), st.integers(1, 20))
def test_records_come_sorted_and_once_however_few_are_held(records: list[bytes], held_max: int) -> None:
    with RecordSorter(4, held_max=held_max) as sorter:
        for record in records:
            sorter.add(record)
        assert list(sorter) == sorted(set(records))
        assert list(sorter) == sorted(set(records)), "and may be read again"


async def listing(digests: list[Digest]) -> AsyncIterator[BlobStat]:
    for digest in digests:
        yield BlobStat(digest, 1, datetime.now(UTC))


@given(few_digests, few_digests)
async def test_each_digest_comes_once_with_what_each_side_knows(
    said: set[Digest], stored: set[Digest]
) -> None:
    pairs = [pair async for pair in joined([(digest, 7) for digest in sorted(said)], listing(sorted(stored)))]
    assert [pair.digest for pair in pairs] == sorted(said | stored)
    assert {pair.digest for pair in pairs if pair.said == 7} == said
    assert {pair.digest for pair in pairs if pair.blob is not None} == stored


async def test_a_store_that_lists_out_of_order_is_refused() -> None:
    a, b = Digest("a" * 64), Digest("b" * 64)
    for wrong in ([b, a], [a, a]):
        with pytest.raises(ListingOutOfOrder, match="out of order"):
            [pair async for pair in joined([(a, 7)], listing(wrong))]

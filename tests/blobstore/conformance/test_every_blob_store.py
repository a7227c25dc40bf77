"""What every blob store does, asked of every backend. A new backend joins in `conftest.py`."""

import asyncio
import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blobstore import (
    BlobBackend,
    BlobCorrupt,
    BlobNotFound,
    BlobStore,
    BlobStoreMisconfigured,
    Digest,
    InvalidDigest,
    digest_of,
)

BODY = b"<h1>A body that never travels in an event</h1>"
ABSENT = digest_of(b"never stored")
DAMAGES = {
    "another text": b"something else",
    "one bit flipped": bytes([BODY[0] ^ 1]) + BODY[1:],
    "cut short": BODY[:-1],
    "emptied": b"",
    "grown": BODY + b" ",
}
each_damage = pytest.mark.parametrize("damaged", DAMAGES.values(), ids=DAMAGES)


async def test_what_is_put_is_got_back(blob_store: BlobStore) -> None:
    assert await blob_store.get(await blob_store.put(BODY)) == BODY


async def test_the_digest_is_the_sha256_of_the_bytes(blob_store: BlobStore) -> None:
    assert await blob_store.put(BODY) == hashlib.sha256(BODY).hexdigest()


async def test_no_bytes_at_all_are_a_blob_too(blob_store: BlobStore) -> None:
    digest = await blob_store.put(b"")
    assert await blob_store.get(digest) == b""
    assert await blob_store.exists(digest)


async def test_nine_megabytes_are_one_blob(blob_store: BlobStore) -> None:
    body = BODY * 200_000  # more than one part, were it sent in parts
    assert await blob_store.get(await blob_store.put(body)) == body


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=st.binary(max_size=4096))
async def test_any_bytes_come_back_as_they_went_in(blob_store: BlobStore, body: bytes) -> None:
    digest = await blob_store.put(body)
    assert digest == digest_of(body)
    assert await blob_store.exists(digest)
    assert await blob_store.get(digest) == body


async def test_what_was_put_exists_and_what_was_not_does_not(blob_store: BlobStore) -> None:
    assert await blob_store.exists(await blob_store.put(BODY))
    assert not await blob_store.exists(ABSENT)


async def test_an_absent_blob_is_not_found_and_named(blob_store: BlobStore) -> None:
    with pytest.raises(BlobNotFound, match=ABSENT) as told:
        await blob_store.get(ABSENT)
    assert not told.value.retryable


async def test_a_blob_put_twice_is_one_blob(blob_store: BlobStore) -> None:
    assert await blob_store.put(BODY) == await blob_store.put(BODY)
    assert await blob_store.get(digest_of(BODY)) == BODY


async def test_the_same_content_put_by_sixteen_at_once_is_there_whole(blob_store: BlobStore) -> None:
    digests = await asyncio.gather(*(blob_store.put(BODY) for _ in range(16)))
    assert set(digests) == {digest_of(BODY)}
    assert await blob_store.get(digests[0]) == BODY


async def test_forty_different_blobs_put_at_once_are_all_there(blob_store: BlobStore) -> None:
    bodies = [b"%d" % number for number in range(40)]
    digests = await asyncio.gather(*map(blob_store.put, bodies))
    assert await asyncio.gather(*map(blob_store.get, digests)) == bodies


@each_damage
async def test_a_damaged_blob_is_told_with_both_digests(place, damaged: bytes) -> None:
    digest = await place.store.put(BODY)
    place.damage(digest, damaged)
    with pytest.raises(BlobCorrupt) as told:
        await place.store.get(digest)
    assert (told.value.expected, told.value.found) == (digest, digest_of(damaged))


@each_damage
async def test_a_damaged_blob_does_not_exist(place, damaged: bytes) -> None:
    digest = await place.store.put(BODY)
    place.damage(digest, damaged)
    assert not await place.store.exists(digest)


@each_damage
async def test_putting_a_damaged_blob_again_makes_it_whole(place, damaged: bytes) -> None:
    digest = await place.store.put(BODY)
    place.damage(digest, damaged)
    assert await place.store.put(BODY) == digest
    assert await place.store.get(digest) == BODY


async def test_another_prefix_does_not_see_a_blob(place) -> None:
    digest = await place.store.put(BODY)
    assert not await place.neighbour.exists(digest)
    with pytest.raises(BlobNotFound):
        await place.neighbour.get(digest)


async def test_damage_under_one_prefix_leaves_the_other_whole(place) -> None:
    digest = await place.store.put(BODY)
    await place.neighbour.put(BODY)
    place.damage(digest, b"spoilt")
    assert await place.neighbour.get(digest) == BODY


NO_DIGESTS = ["../../etc/passwd", "x", "A" * 64, "a" * 63, "a" * 64 + "\n", "a/" * 32, ""]


@pytest.mark.parametrize("text", NO_DIGESTS)
async def test_what_is_no_digest_is_refused_before_anything_is_read(blob_store: BlobStore, text: str) -> None:
    with pytest.raises(InvalidDigest):
        await blob_store.get(Digest(text))
    with pytest.raises(InvalidDigest):
        await blob_store.exists(Digest(text))


@pytest.mark.parametrize("prefix", ["", "..", "a/b", "Acme", "a-b", "a" * 65, "acme\n", "\uff41"])
async def test_what_is_no_prefix_makes_no_store(place, prefix: str) -> None:
    with pytest.raises(BlobStoreMisconfigured):
        place.backend.store(prefix)


async def test_a_prepared_store_is_usable_and_preparing_again_keeps_its_blobs(blob_store: BlobStore) -> None:
    digest = await blob_store.put(BODY)
    await blob_store.prepare()
    await blob_store.check()
    assert await blob_store.get(digest) == BODY


async def test_closing_one_store_leaves_its_neighbours_open(place) -> None:
    await place.store.close()
    await place.neighbour.check()
    await place.neighbour.put(BODY)


async def test_both_kinds_keep_their_protocols(place) -> None:
    assert isinstance(place.backend, BlobBackend)
    assert isinstance(place.store, BlobStore)


async def test_a_store_describes_itself_with_its_prefix(place) -> None:
    assert place.prefix in place.store.describe()
    assert place.backend.describe() in repr(place.store)

"""What a store says of its blobs, hands out and removes, asked of every backend."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blobstore import BlobCorrupt, BlobNotFound, BlobStore, BlobUrlUnsupported, Digest, digest_of
from blobstore.errors import InvalidDigest
from blobstore.keys import blob_key

BODY = b"<h1>A body that never travels in an event</h1>"
ABSENT = digest_of(b"never stored")
NO_DIGESTS = ["../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", ""]


async def stream(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def listed(store: BlobStore, digest_prefix: str = "", after: Digest | None = None) -> list[Digest]:
    return [stat.digest async for stat in store.iterate(digest_prefix, after=after)]


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_a_blobs_size_and_time_are_told(blob_store: BlobStore, size: int) -> None:
    digest = await blob_store.put(b"x" * size)
    stat = await blob_store.stat(digest)
    assert (stat.digest, stat.size_bytes) == (digest, size)
    assert abs(stat.modified_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert stat.modified_at.utcoffset() == timedelta(0)


async def test_verify_reads_a_whole_blob_and_tells_its_size(blob_store: BlobStore) -> None:
    assert await blob_store.verify(await blob_store.put(BODY)) == len(BODY)
    assert await blob_store.verify(await blob_store.put(b"")) == 0


@pytest.mark.parametrize("damaged", [b"", b"something else", BODY[:-1], BODY + b" "])
async def test_verify_tells_damage_with_both_digests(place, damaged: bytes) -> None:
    digest = await place.store.put(BODY)
    place.damage(digest, damaged)
    with pytest.raises(BlobCorrupt) as told:
        await place.store.verify(digest)
    assert (told.value.expected, told.value.found) == (digest, digest_of(damaged))


async def test_an_absent_blob_has_no_size_and_cannot_be_verified(blob_store: BlobStore) -> None:
    for call in (blob_store.stat, blob_store.verify):
        with pytest.raises(BlobNotFound, match=ABSENT):
            await call(ABSENT)


async def test_a_deleted_blob_is_gone_and_deleting_it_again_is_no_error(blob_store: BlobStore) -> None:
    digest, kept = await blob_store.put(BODY), await blob_store.put(b"kept")
    for _ in range(2):
        await blob_store.delete(digest)
        assert not await blob_store.exists(digest)
    assert await listed(blob_store) == [kept]
    await blob_store.delete(ABSENT)


async def test_a_deleted_blob_can_be_put_again(blob_store: BlobStore) -> None:
    await blob_store.delete(await blob_store.put(BODY))
    assert await blob_store.get(await blob_store.put(BODY)) == BODY


async def test_deleting_from_one_prefix_leaves_its_neighbours(place) -> None:
    digest = await place.store.put(BODY)
    await place.neighbour.put(BODY)
    await place.store.delete(digest)
    assert await place.neighbour.get(digest) == BODY


@pytest.mark.parametrize("text", NO_DIGESTS)
async def test_what_is_no_digest_names_nothing(blob_store: BlobStore, text: str) -> None:
    for call in (blob_store.stat, blob_store.verify, blob_store.delete):
        with pytest.raises(InvalidDigest):
            await call(Digest(text))
    with pytest.raises(InvalidDigest):
        await blob_store.presign(Digest(text), file_name="x")
    with pytest.raises(InvalidDigest):
        await listed(blob_store, after=Digest(text))


# --- what a collector of garbage builds on ------------------------------------------------------------------


async def test_a_young_blob_put_again_is_left_as_it_is(blob_store: BlobStore) -> None:
    before = await blob_store.stat(await blob_store.put(BODY))
    await asyncio.sleep(1.1)  # times of S3 are in seconds
    await blob_store.put(BODY)
    assert await blob_store.stat(before.digest) == before


async def test_an_old_blob_is_renewed_by_a_put_of_bytes_and_of_a_stream(place) -> None:
    before = await place.store.stat(await place.store.put(BODY))
    for content in (BODY, stream(BODY)):
        await asyncio.sleep(1.1)
        assert await place.impatient.put(content) == before.digest
        after = await place.store.stat(before.digest)
        assert after.modified_at > before.modified_at
        assert await place.store.get(before.digest) == BODY
        before = after


async def test_an_old_and_damaged_blob_is_made_whole(place) -> None:
    digest = await place.store.put(BODY)
    place.damage(digest, b"spoilt")
    await place.impatient.put(BODY)
    assert await place.store.get(digest) == BODY


async def test_what_dead_puts_left_is_cleared_once_it_is_old_and_blobs_stay(place) -> None:
    digest = await place.store.put(BODY)
    place.begin(blob_key(place.prefix, digest))
    place.begin(blob_key(place.prefix, ABSENT))
    place.begin(blob_key(f"{place.prefix}_2", digest))
    await asyncio.sleep(1.1)
    assert await listed(place.store) == [digest]
    assert await place.store.clear_unfinished(3600) == 0
    assert await place.store.clear_unfinished(0) == 2
    assert await place.store.clear_unfinished(0) == 0
    assert await place.store.get(digest) == BODY
    assert await place.neighbour.clear_unfinished(0) == 1


async def test_nothing_is_left_to_clear_in_an_empty_store(blob_store: BlobStore) -> None:
    assert await blob_store.clear_unfinished(0) == 0


@pytest.mark.parametrize("age", [-1.0, float("nan")])
async def test_what_is_no_age_clears_nothing(blob_store: BlobStore, age: float) -> None:
    with pytest.raises(ValueError, match="age"):
        await blob_store.clear_unfinished(age)


# --- iterate ------------------------------------------------------------------------------------------------


async def test_every_blob_is_listed_once_in_order_with_its_size(blob_store: BlobStore) -> None:
    bodies = {digest_of(b"x" * size): size for size in range(60)}
    for size in bodies.values():
        await blob_store.put(b"x" * size)
    stats = [stat async for stat in blob_store.iterate()]
    assert [stat.digest for stat in stats] == sorted(bodies)
    assert {stat.digest: stat.size_bytes for stat in stats} == bodies
    for stat in stats[::17]:
        assert stat.modified_at == (await blob_store.stat(stat.digest)).modified_at.replace(
            microsecond=stat.modified_at.microsecond  # a listing and a header may round differently
        )


async def test_an_empty_store_lists_nothing(blob_store: BlobStore) -> None:
    assert await listed(blob_store) == []


async def test_the_neighbours_blobs_are_not_listed(place) -> None:
    mine = await place.store.put(b"mine")
    theirs = await place.neighbour.put(b"theirs")
    assert await listed(place.store) == [mine]
    assert await listed(place.neighbour) == [theirs]


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(beginning=st.text("0123456789abcdef", max_size=3), after=st.integers(0, 256**32 - 1) | st.none())
async def test_a_listing_is_cut_by_its_beginning_and_goes_on_after_any_digest(
    blob_store: BlobStore, beginning: str, after: int | None
) -> None:
    present = [await blob_store.put(bytes([number])) for number in range(12)]
    start = None if after is None else Digest(f"{after:064x}")
    expected = [digest for digest in present if digest.startswith(beginning) and digest > (start or "")]
    assert await listed(blob_store, beginning, start) == sorted(expected)


async def test_a_listing_is_found_by_a_long_beginning_and_resumed_at_each_blob(blob_store: BlobStore) -> None:
    digests = sorted([await blob_store.put(bytes([number])) for number in range(5)])
    for number, digest in enumerate(digests):
        assert await listed(blob_store, digest) == [digest]
        assert await listed(blob_store, digest[:9]) == [digest]
        assert await listed(blob_store, after=digest) == digests[number + 1 :]


async def test_what_is_no_blob_is_not_listed(place) -> None:
    digest = await place.store.put(BODY)
    folder = blob_key(place.prefix, digest).removesuffix(f"/{digest}")
    wrong_folder = f"{place.prefix}/sha256/{'00' if not ABSENT.startswith('00') else '01'}/{ABSENT}"
    for key in (f"{folder}/README", f"{folder}/{digest}.old", f"{folder}/{digest[:63]}", wrong_folder):
        place.write(key, b"stray")
    assert await listed(place.store) == [digest]


@pytest.mark.parametrize("text", ["xyz", "AB", "../", "a" * 65, "a\n"])
async def test_what_begins_no_digest_lists_nothing(blob_store: BlobStore, text: str) -> None:
    with pytest.raises(InvalidDigest):
        await listed(blob_store, text)


# --- presign ------------------------------------------------------------------------------------------------


async def test_a_url_saves_the_blob_under_its_name_or_there_is_no_server_to_ask(place) -> None:
    digest = await place.store.put(BODY)
    if place.is_folder:
        with pytest.raises(BlobUrlUnsupported, match="blob get") as told:
            await place.store.presign(digest, file_name="page.html", content_type="text/html")
        assert not told.value.retryable
        return
    url = await place.store.presign(digest, file_name='naïve "page".html', content_type="text/html")
    with urlopen(url) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == digest
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert "na%C3%AFve%20_page_.html" in answer.headers["content-disposition"]


async def test_an_absent_blob_has_no_url(place) -> None:
    if place.is_folder:
        with pytest.raises(BlobUrlUnsupported):
            await place.store.presign(ABSENT, file_name="x")
    else:
        with pytest.raises(BlobNotFound):
            await place.store.presign(ABSENT, file_name="x")


@pytest.mark.parametrize(
    "wrong",
    [
        {"expires_seconds": 0},
        {"expires_seconds": 8 * 24 * 3600},
        {"content_type": "text/html\r\nX: y"},
        {"content_type": ""},
        {"content_type": "html"},
    ],
    ids=str,
)
async def test_a_url_that_nobody_could_sign_is_refused(place, wrong: dict[str, object]) -> None:
    digest = await place.store.put(BODY)
    with pytest.raises(ValueError, match=r"good for|content type"):
        await place.store.presign(digest, file_name="x", **wrong)

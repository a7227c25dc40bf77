"""What only the S3 store has: a server that can be away, refuse, answer nonsense, or fail for a moment."""

import asyncio
import base64
import logging
import pickle
import socket
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Answer, s3_error, scripted_server

from blobstore import (
    BlobAccessDenied,
    BlobError,
    BlobRequestRefused,
    BlobStore,
    BlobStoreMisconfigured,
    BlobStoreMissing,
    BlobStoreUnavailable,
    MinioConnection,
    digest_of,
)
from blobstore.keys import blob_key
from blobstore.minio import requests
from blobstore.minio.retries import ATTEMPTS_MAX, FIRST_PAUSE_SECONDS, pauses
from blobstore.minio.writing import SENT_UNASKED_BYTES_MAX
from blobstore.protocol import RENEWED_SECONDS
from tests.blobstore.conftest import Bucket

BODY = b"<p>hello</p>"
DIGEST = digest_of(BODY)
SECRET = "hunter2-is-a-secret"
ABSENT = s3_error(404, "NoSuchKey")
THERE = s3_error(412, "PreconditionFailed")
BUSY = s3_error(503, "SlowDown")
NOW, EARLIER = formatdate(usegmt=True), formatdate(time.time() - RENEWED_SECONDS - 60, usegmt=True)
WHOLE = Answer(200, BODY, "application/octet-stream", headers=(("Last-Modified", NOW),))

CALLS: dict[str, Callable[[BlobStore], object]] = {
    "put": lambda store: store.put(BODY),
    "get": lambda store: store.get(DIGEST),
    "exists": lambda store: store.exists(DIGEST),
    "check": lambda store: store.check(),
    "prepare": lambda store: store.prepare(),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
every_call_but_prepare = pytest.mark.parametrize("call", list(CALLS.values())[:-1], ids=list(CALLS)[:-1])


@asynccontextmanager
async def store_at(endpoint: str, **changed: object) -> AsyncIterator[BlobStore]:
    settings: dict[str, object] = {"bucket": "some-bucket", "region": "us-east-1"}
    connection = MinioConnection(endpoint, "someone", SECRET, **(settings | changed))  # type: ignore[arg-type]
    yield connection.store("acme")
    await connection.close()


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def everything_said(error: BaseException) -> str:
    return repr(error) + "".join(traceback.format_exception(error))


# --- a server that is away ----------------------------------------------------------------------------------


@every_call
async def test_a_server_that_is_down_is_told_soon_and_by_its_endpoint(call) -> None:
    endpoint = closed_port()
    async with store_at(endpoint) as store:
        began = time.monotonic()
        with pytest.raises(BlobStoreUnavailable, match=endpoint) as told:
            await call(store)
    assert time.monotonic() - began < 2
    assert told.value.retryable
    assert SECRET not in everything_said(told.value)


async def test_a_host_that_does_not_exist_is_out_of_reach() -> None:
    async with store_at("no-such-host.invalid:9000") as store:
        with pytest.raises(BlobStoreUnavailable, match=r"no-such-host\.invalid:9000"):
            await store.check()


async def test_a_server_without_tls_is_told_with_the_setting_to_check() -> None:
    with scripted_server(WHOLE) as script:
        async with store_at(script.endpoint, use_ssl=True, deadline_seconds=0.1) as store:
            with pytest.raises(BlobStoreUnavailable, match="use_ssl"):
                await store.get(DIGEST)


async def test_a_server_that_says_nothing_is_given_up_on() -> None:
    with scripted_server(Answer(200, silent_seconds=1.5)) as script:
        async with store_at(script.endpoint, read_timeout_seconds=0.2, deadline_seconds=0.5) as store:
            began = time.monotonic()
            with pytest.raises(BlobStoreUnavailable, match="ReadTimeoutError"):
                await store.get(DIGEST)
    assert time.monotonic() - began < 1.4


# --- a server that fails for a moment -----------------------------------------------------------------------


async def test_an_error_that_passes_is_waited_out() -> None:
    with scripted_server(BUSY, BUSY, WHOLE) as script:
        async with store_at(script.endpoint) as store:
            assert await store.get(DIGEST) == BODY


async def test_an_error_that_stays_is_told_after_a_bounded_number_of_attempts() -> None:
    with scripted_server(BUSY) as script:
        async with store_at(script.endpoint) as store:
            with pytest.raises(BlobStoreUnavailable, match="SlowDown"):
                await store.get(DIGEST)
    assert len(script.requests) == ATTEMPTS_MAX


async def test_no_attempt_begins_after_the_deadline() -> None:
    with scripted_server(BUSY) as script:
        async with store_at(script.endpoint, deadline_seconds=0.15) as store:
            with pytest.raises(BlobStoreUnavailable):
                await store.get(DIGEST)
    assert len(script.requests) == 2


@given(st.floats(0, 1, exclude_max=True))
def test_pauses_double_and_differ_from_caller_to_caller(chance: float) -> None:
    lengths = list(pauses(lambda: chance))
    assert len(lengths) == ATTEMPTS_MAX - 1
    for number, length in enumerate(lengths):
        assert FIRST_PAUSE_SECONDS * 2**number / 2 <= length <= FIRST_PAUSE_SECONDS * 2**number
    assert list(pauses()) != list(pauses())


async def test_a_body_cut_short_is_fetched_again() -> None:
    short = Answer(200, BODY[:5], "application/octet-stream", promised_bytes=len(BODY))
    with scripted_server(short, WHOLE) as script:
        async with store_at(script.endpoint) as store:
            assert await store.get(DIGEST) == BODY


async def test_a_body_that_is_always_cut_short_is_the_servers_failure_not_a_blob() -> None:
    with scripted_server(Answer(200, BODY[:5], "x/y", promised_bytes=len(BODY))) as script:
        async with store_at(script.endpoint) as store:
            with pytest.raises(BlobStoreUnavailable):
                await store.get(DIGEST)


async def test_an_upload_damaged_on_its_way_is_sent_again() -> None:
    with scripted_server(s3_error(400, "BadDigest"), Answer(200)) as script:
        async with store_at(script.endpoint) as store:
            assert await store.put(BODY) == DIGEST
    assert script.methods == ["PUT", "PUT"]


async def test_an_upload_may_take_longer_than_connecting() -> None:
    with scripted_server(ABSENT, Answer(200), seconds_per_mib=0.06) as script:
        async with store_at(script.endpoint, connect_timeout_seconds=0.3) as store:
            began = time.monotonic()
            await store.put(bytes(15 << 20))
    assert time.monotonic() - began > 0.6
    assert script.methods == ["GET", "PUT"]


# --- what is sent -------------------------------------------------------------------------------------------


async def test_an_upload_carries_the_sha256_for_the_server_to_check() -> None:
    with scripted_server(Answer(200)) as script:
        async with store_at(script.endpoint) as store:
            await store.put(BODY)
    assert script.requests == [f"PUT /some-bucket/acme/sha256/{DIGEST[:2]}/{DIGEST}"]
    assert base64.b64decode(script.headers[0]["x-amz-checksum-sha256"]).hex() == DIGEST
    assert script.headers[0]["x-amz-content-sha256"] == DIGEST


async def test_a_server_that_answers_another_checksum_stored_something_else() -> None:
    other = base64.b64encode(bytes.fromhex(digest_of(b"other"))).decode()
    stored_wrong = Answer(200, headers=(("x-amz-checksum-sha256", other),))
    with scripted_server(stored_wrong) as script:
        async with store_at(script.endpoint) as store:
            with pytest.raises(BlobStoreUnavailable, match="other bytes"):
                await store.put(BODY)
    assert script.methods == ["PUT"] * ATTEMPTS_MAX


async def test_a_small_blob_is_sent_unasked_and_never_replaces_what_is_there() -> None:
    with scripted_server(THERE, WHOLE) as script:
        async with store_at(script.endpoint) as store:
            assert await store.put(BODY) == DIGEST
    assert script.methods == ["PUT", "GET"]
    assert script.headers[0]["if-none-match"] == "*"


async def test_a_small_blob_whose_first_answer_was_lost_is_read_back() -> None:
    with scripted_server(BUSY, THERE, WHOLE) as script:
        async with store_at(script.endpoint) as store:
            assert await store.put(BODY) == DIGEST
    assert script.methods == ["PUT", "PUT", "GET"]


async def test_a_damaged_blob_is_replaced_without_a_condition() -> None:
    damaged = Answer(200, b"spoilt", "x/y", headers=WHOLE.headers)
    with scripted_server(THERE, damaged, Answer(200)) as script:
        async with store_at(script.endpoint) as store:
            assert await store.put(BODY) == DIGEST
    assert script.methods == ["PUT", "GET", "PUT"]
    assert "if-none-match" not in script.headers[2]


async def test_a_larger_blob_that_is_there_is_read_and_not_sent() -> None:
    body = bytes(SENT_UNASKED_BYTES_MAX + 1)
    with scripted_server(Answer(200, body, "x/y", headers=WHOLE.headers)) as script:
        async with store_at(script.endpoint) as store:
            assert await store.put(body) == digest_of(body)
    assert script.methods == ["GET"]


async def test_a_blob_that_is_old_or_of_no_known_age_is_sent_again_and_not_read() -> None:
    for headers in ((("Last-Modified", EARLIER),), (), (("Last-Modified", "noon"),)):
        with scripted_server(THERE, Answer(200, BODY, "x/y", headers=headers), Answer(200)) as script:
            async with store_at(script.endpoint) as store:
                assert await store.put(BODY) == DIGEST
        assert script.methods == ["PUT", "GET", "PUT"]


async def test_bytes_that_are_not_those_of_the_digest_are_refused_by_every_server(bucket: Bucket) -> None:
    connection = bucket.connection(deadline_seconds=0.1)
    other = digest_of(b"other")
    key = blob_key("checked", other)
    with pytest.raises(BlobStoreUnavailable, match=r"BadDigest|XAmzContentSHA256Mismatch"):
        await connection.call(lambda client: requests.put(client, bucket.name, key, BODY, other, {}))
    assert not await connection.store("checked").exists(other)
    await connection.close()


# --- a server that says no ----------------------------------------------------------------------------------


@every_call
async def test_wrong_credentials_are_denied_at_once_and_not_repeated(swift, call) -> None:
    for changed in ({"secret_key": SECRET}, {"access_key": "nobody", "secret_key": SECRET}):
        connection = swift.connection(**changed)
        with pytest.raises(BlobAccessDenied, match=swift.server.endpoint) as told:
            await call(connection.store("acme"))
        await connection.close()
        assert not told.value.retryable
        assert SECRET not in everything_said(told.value)


@every_call_but_prepare
async def test_a_missing_bucket_is_told_with_the_command_that_makes_it(swift, call) -> None:
    connection = swift.connection(bucket="nobody-made-this")
    with pytest.raises(BlobStoreMissing, match=r"nobody-made-this.*daicho init"):
        await call(connection.store("acme"))
    await connection.close()


async def test_prepare_makes_the_bucket_also_for_two_at_once(swift) -> None:
    connections = [swift.connection(bucket="made-by-prepare") for _ in range(2)]
    await asyncio.gather(*(connection.prepare() for connection in connections))
    await connections[0].check()
    for connection in connections:
        await connection.close()
    swift.client.remove_bucket("made-by-prepare")


async def test_a_bucket_owned_by_someone_else_is_refused() -> None:
    with scripted_server(Answer(404), s3_error(409, "BucketAlreadyExists")) as script:
        async with store_at(script.endpoint) as store:
            with pytest.raises(BlobRequestRefused, match="BucketAlreadyExists"):
                await store.prepare()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (s3_error(403, "InvalidAccessKeyId"), BlobAccessDenied),
        (s3_error(403, "RequestTimeTooSkewed"), BlobAccessDenied),
        (s3_error(403, "SomethingNew"), BlobAccessDenied),
        (s3_error(404, "NoSuchBucket"), BlobStoreMissing),
        (s3_error(400, "InvalidRequest"), BlobRequestRefused),
        (s3_error(500, "InternalError"), BlobStoreUnavailable),
        (s3_error(507, "XMinioStorageFull"), BlobStoreUnavailable),
        (Answer(403, b"<html>", "text/html"), BlobAccessDenied),
        (Answer(502, b"<html>", "text/html"), BlobStoreUnavailable),
        (Answer(404, b"<html>", "text/html"), BlobStoreMisconfigured),
        (Answer(503, b"<Error", "application/xml"), BlobStoreUnavailable),
        (Answer(503, b"\xff\xfe", "application/xml"), BlobStoreUnavailable),
        (Answer(301), BlobError),
        (Answer(404), BlobError),
    ],
    ids=lambda value: f"{value.status} {value.body[:40]!r}" if isinstance(value, Answer) else value.__name__,
)
async def test_an_answer_is_told_as_what_it_means(answer: Answer, error: type[BlobError]) -> None:
    with scripted_server(answer) as script:
        async with store_at(script.endpoint, deadline_seconds=0.1) as store:
            with pytest.raises(error) as told:
                await store.get(DIGEST)
    assert script.endpoint in str(told.value)
    assert pickle.loads(pickle.dumps(told.value)).problem == told.value.problem


# --- settings and secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bucket", ["", "No", "a", "a/b", "..", "-bucket", "1.2.3.4", "bucket\n", "b" * 64])
def test_a_name_that_can_be_no_buckets_is_refused_before_anything_is_asked(bucket: str) -> None:
    with pytest.raises(BlobStoreMisconfigured, match="bucket"):
        MinioConnection("localhost:9000", "someone", SECRET, bucket=bucket)


def test_an_endpoint_with_a_scheme_is_refused() -> None:
    with pytest.raises(BlobStoreMisconfigured, match="use_ssl"):
        MinioConnection("http://localhost:9000", "someone", SECRET, bucket="some-bucket")


async def test_secrets_stand_in_no_description_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint = closed_port()
    async with store_at(endpoint) as store:
        with pytest.raises(BlobStoreUnavailable):
            await store.put(BODY)
        said = f"{store!r} {store} {store.describe()} {caplog.text}"
    assert SECRET not in said
    assert store.describe() == f"S3 at {endpoint}, bucket some-bucket, prefix acme"


async def test_one_connection_serves_many_prefixes_and_closes_twice(swift) -> None:
    connection = swift.connection()
    stores = [connection.store(f"tenant_{number}") for number in range(5)]
    await asyncio.gather(*(store.put(BODY) for store in stores))
    assert all(await asyncio.gather(*(store.exists(DIGEST) for store in stores)))
    await connection.close()
    await connection.close()

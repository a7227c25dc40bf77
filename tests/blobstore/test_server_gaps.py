"""What each S3 server of the tests can and cannot: the table of `tests/servers/gaps.py`, held against it."""

import base64
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO

import pytest
from minio.commonconfig import GOVERNANCE
from minio.error import MinioException, S3Error
from minio.retention import Retention

from blobstore import digest_of
from blobstore.minio.unfinished import unfinished_uploads
from tests.blobstore.conftest import SERVERS, Bucket
from tests.servers import gaps

BODY, OTHER = b"<p>hello</p>", b"<p>other</p>"


def put(bucket: Bucket, key: str, body: bytes = BODY, **headers: str) -> None:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    bucket.client._put_object(bucket.name, key, body, sent)


def refuses(call: Callable[[], object], *codes: str) -> bool:
    try:
        call()
    except S3Error as error:
        if error.code not in codes:
            raise
        return True
    return False


def create_only(bucket: Bucket) -> bool:
    put(bucket, "once", if_none_match="*")
    refused = refuses(partial(put, bucket, "once", OTHER, if_none_match="*"), "PreconditionFailed")
    return refused and bucket.client.get_object(bucket.name, "once").data == BODY


def checksum_checked(bucket: Bucket) -> bool:
    wrong = base64.b64encode(bytes.fromhex(digest_of(OTHER))).decode()
    return refuses(lambda: put(bucket, "checked", x_amz_checksum_sha256=wrong), "BadDigest", "InvalidDigest")


def checksum_told(bucket: Bucket) -> bool:
    right = base64.b64encode(bytes.fromhex(digest_of(BODY))).decode()
    put(bucket, "told", x_amz_checksum_sha256=right)
    asked = {"x-amz-checksum-mode": "ENABLED"}
    return (
        bucket.client._execute("HEAD", bucket.name, "told", headers=asked).headers.get(
            "x-amz-checksum-sha256"
        )
        == right
    )


def lock(bucket: Bucket) -> bool:
    locked = f"{bucket.name}-locked"
    until = datetime.now(UTC) + timedelta(seconds=3)
    try:
        bucket.client.make_bucket(locked, object_lock=True)
    except MinioException:
        return False
    try:
        written = bucket.client.put_object(
            locked, "kept", BytesIO(BODY), len(BODY), retention=Retention(GOVERNANCE, until)
        )
        return refuses(
            lambda: bucket.client.remove_object(locked, "kept", version_id=written.version_id), "AccessDenied"
        )
    finally:
        bucket.empty(locked)
        bucket.client.remove_bucket(locked)


def delete_if_unmodified(bucket: Bucket) -> bool:
    put(bucket, "renewed")
    before = bucket.client.stat_object(bucket.name, "renewed").etag
    put(bucket, "renewed", OTHER)
    condition = {"If-Match": f'"{before}"'}
    delete = partial(bucket.client._execute, "DELETE", bucket.name, "renewed", headers=condition)
    return refuses(delete, "PreconditionFailed")


def lists_unfinished(bucket: Bucket) -> bool:
    key = f"begun/{secrets.token_hex(4)}/x"
    upload_id = bucket.client._create_multipart_upload(bucket.name, key, {})
    found = [upload.key for upload in unfinished_uploads(bucket.client, bucket.name, key[:-2])]
    bucket.client._abort_multipart_upload(bucket.name, key, upload_id)
    return found == [key]


PROBES: dict[str, Callable[[Bucket], bool]] = {
    gaps.CREATE_ONLY: create_only,
    gaps.CHECKSUM_CHECKED: checksum_checked,
    gaps.CHECKSUM_TOLD: checksum_told,
    gaps.LOCK: lock,
    gaps.DELETE_IF_UNMODIFIED: delete_if_unmodified,
    gaps.LISTS_UNFINISHED: lists_unfinished,
}


@pytest.mark.parametrize("feature", PROBES)
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_lacks_exactly_what_the_table_says(
    request: pytest.FixtureRequest, server: str, feature: str
) -> None:
    works = PROBES[feature](request.getfixturevalue(server))
    if server == "named_server":
        if not works:
            pytest.skip(f"gap of the named server: not true that {feature}")
        return
    reason = gaps.GAPS[server].get(feature)
    assert works == (reason is None), f"{feature}: {works}; the table says {reason or 'it does'}"


def test_the_table_names_nothing_that_is_not_asked() -> None:
    assert set(gaps.GAPS) == {"swift", "ceph"}
    assert all(set(lacking) <= set(PROBES) for lacking in gaps.GAPS.values())

"""Requests that the SDK signs and sends, but has no public call for: with a condition, or one part of an
upload."""

import base64
from typing import cast

import minio
from minio.datatypes import Part as UploadedPart
from minio.error import S3Error

from blobstore.digest import Digest
from blobstore.minio.client import HASH
from blobstore.minio.errors import BadAnswer
from blobstore.minio.spool import Part

CHECKSUM = "x-amz-checksum-sha256"
PART_BYTES = 8 << 20
PART_BYTES_MAX = 64 << 20
PARTS_MAX = 10_000

Headers = dict[str, str | list[str] | tuple[str]]


def put(
    client: minio.Minio, bucket: str, key: str, body: bytes | Part, digest: Digest, headers: dict[str, str]
) -> bool:
    """PutObject, with the digest for the server to check. False where a condition among the headers
    failed."""
    checksum = base64.b64encode(bytes.fromhex(digest)).decode()
    sent: Headers = {"Content-Type": "application/octet-stream", CHECKSUM: checksum, HASH: digest, **headers}
    try:
        answer = client._execute("PUT", bucket, key, body=cast(bytes, body), headers=sent, no_body_trace=True)
    except S3Error as error:
        if error.code != "PreconditionFailed":
            raise
        return False
    if answer.headers.get(CHECKSUM, checksum) != checksum:  # where the server tells one at all
        raise BadAnswer("the sha256 of other bytes than were sent")
    return True


def begin_upload(client: minio.Minio, bucket: str, key: str) -> str:
    """CreateMultipartUpload: the upload's id."""
    return client._create_multipart_upload(bucket, key, {})


def put_part(
    client: minio.Minio, bucket: str, key: str, upload_id: str, number: int, body: Part
) -> UploadedPart:
    """UploadPart, signed with the hash of the part's bytes, which the server checks."""
    headers: Headers = {HASH: body.digest()}
    etag = client._upload_part(bucket, key, cast(bytes, body), headers, upload_id, number)
    return UploadedPart(number, etag)


def complete_upload(
    client: minio.Minio, bucket: str, key: str, upload_id: str, parts: list[UploadedPart]
) -> bool:
    """CompleteMultipartUpload. False where there is no such upload: it was completed, or aborted, before."""
    try:
        result = client._complete_multipart_upload(bucket, key, upload_id, parts)
    except S3Error as error:
        if error.code != "NoSuchUpload":
            raise
        return False
    if result.etag is None:  # S3 may say 200 first, and fail while it puts the parts together
        raise BadAnswer("an upload that could not be put together")
    return True


def part_bytes_for(size: int) -> int:
    """How large the parts of a body are, so that it has PARTS_MAX at most."""
    mib = 1 << 20
    return max(PART_BYTES, -(-size // PARTS_MAX // mib) * mib)

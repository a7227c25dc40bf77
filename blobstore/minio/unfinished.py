"""Uploads in parts that were begun under a prefix and never completed: no object, but they cost room.

MinIO lists none of them unless asked by the whole key, and clears them by itself after a day.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import minio
from minio.datatypes import ListMultipartUploadsResult
from minio.error import S3Error


class Upload(NamedTuple):
    """One of them. `begun_at` is the server's time, in UTC."""

    key: str
    upload_id: str
    begun_at: datetime


def unfinished_uploads(client: minio.Minio, bucket: str, key_prefix: str) -> Iterator[Upload]:
    """Those whose key begins like this, a page of 1,000 in memory at a time."""
    # Not by the SDK's own call: it sends an empty delimiter, for which Swift lists nothing.
    marker = ""
    while True:
        query: dict[str, str | list[str] | tuple[str]] = {"uploads": "", "prefix": key_prefix}
        if marker:
            query["key-marker"] = marker
        page = ListMultipartUploadsResult(client._execute("GET", bucket, query_params=query))
        for listed in page.uploads:
            if listed.object_name and listed.upload_id and listed.initiated_time:
                yield Upload(listed.object_name, listed.upload_id, listed.initiated_time)
        if not page.is_truncated or not page.uploads:
            return
        # By key alone, as the SDK drops the other marker: what of one key exceeds a page is seen next time.
        marker = page.uploads[-1].object_name or ""


def abort(client: minio.Minio, bucket: str, upload: Upload) -> None:
    """Remove one. Does nothing where it is gone: it was completed, or aborted by somebody else."""
    try:
        client._abort_multipart_upload(bucket, upload.key, upload.upload_id)
    except S3Error as error:
        if error.code != "NoSuchUpload":
            raise

"""How a body gets into the bucket whole: in as few round trips as can be, or in parts, or not at all."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from minio.datatypes import Part as UploadedPart

from blobstore.errors import BlobError, BlobRequestRefused, BlobStoreUnavailable
from blobstore.minio import requests
from blobstore.minio.object_lock import lock_object
from blobstore.minio.reading import Objects
from blobstore.minio.spool import Body, Part
from blobstore.minio.unfinished import Upload, abort

if TYPE_CHECKING:
    from blobstore.minio.connection import MinioConnection

SENT_UNASKED_BYTES_MAX = 256 << 10
SINGLE_PUT_BYTES_MAX = 64 << 20

_CREATE_ONLY = {"If-None-Match": "*"}


class Writing:
    """Puts bodies under one prefix."""

    def __init__(self, connection: "MinioConnection", objects: Objects) -> None:
        self._connection = connection
        self._objects = objects

    async def put(self, body: Body) -> None:
        """Return once the blob is there, whole and young.

        To ask first whether it is there costs a round trip; to send a small body for nothing costs less.
        """
        _require_size(body.size)
        # Ceph does not hold to the condition in a bucket with versions, which one that locks is.
        unasked = body.size <= SENT_UNASKED_BYTES_MAX and not self._connection.object_lock
        if unasked and await self._send(body, _CREATE_ONLY):
            return
        if not await self._is_renewed(body):
            await (self._send(body) if body.size <= SINGLE_PUT_BYTES_MAX else self._send_parts(body))

    async def _is_renewed(self, body: Body) -> bool:
        young = self._connection.renewed_seconds
        return await self._connection.call(
            lambda client: self._objects.is_renewed(client, body.digest, young)
        )

    async def _send(self, body: Body, condition: dict[str, str] | None = None) -> bool:
        """PUT, True where it was stored; False where the condition failed."""
        lock, key = self._connection.object_lock, self._objects.key(body.digest)
        small = body.size <= SENT_UNASKED_BYTES_MAX
        content = body.read(0, body.size) if small else Part(body, 0, body.size)
        headers = {**(lock.headers(datetime.now(UTC)) if lock else {}), **(condition or {})}
        return await self._connection.call(
            lambda client: requests.put(client, self._objects.bucket, key, content, body.digest, headers)
        )

    async def _send_parts(self, body: Body) -> None:
        bucket, key = self._objects.bucket, self._objects.key(body.digest)
        upload_id = await self._connection.call(lambda client: requests.begin_upload(client, bucket, key))
        try:
            parts = await self._sent_parts(body, key, upload_id)
            completed = await self._connection.call(
                lambda client: requests.complete_upload(client, bucket, key, upload_id, parts)
            )
        except BaseException:
            upload = Upload(key, upload_id, datetime.now(UTC))
            with suppress(BlobError):  # what is left is cleared by `clear_unfinished`
                await asyncio.shield(self._connection.call(lambda client: abort(client, bucket, upload)))
            raise
        # No such upload: our own first attempt to complete it was answered too late, or somebody aborted it.
        if not completed and not await self._is_renewed(body):
            raise BlobStoreUnavailable(
                f"An upload in parts to {self._connection.describe()} was aborted by somebody else",
                fix="Let `clear_unfinished` spare uploads that may still be under way",
            )
        if lock := self._connection.object_lock:
            # Not by a header at the beginning: Ceph passes over it. Until now nobody was told of the blob.
            now = datetime.now(UTC)
            await self._connection.call(lambda client: lock_object(client, bucket, key, lock, now))

    async def _sent_parts(self, body: Body, key: str, upload_id: str) -> list[UploadedPart]:
        length = requests.part_bytes_for(body.size)
        ended = asyncio.Event()

        async def sent(number: int, start: int) -> UploadedPart:
            async with self._connection.parts_at_once:
                if ended.is_set():
                    raise asyncio.CancelledError
                part = Part(body, start, length)
                return await self._connection.call(
                    lambda client: requests.put_part(client, bucket, key, upload_id, number, part)
                )

        bucket = self._objects.bucket
        sending = [
            asyncio.create_task(sent(number, start))
            for number, start in enumerate(range(0, body.size, length), 1)
        ]
        try:
            return await asyncio.gather(*map(asyncio.shield, sending))
        finally:
            # A part under way in its thread must end before the upload is aborted, or it would outlive it.
            ended.set()
            await asyncio.wait(sending)


def _require_size(size: int) -> None:
    most = requests.PARTS_MAX * requests.PART_BYTES_MAX
    if size > most:
        raise BlobRequestRefused(
            "This blob is too large", expected=f"at most {most} bytes", found=f"{size} bytes"
        )

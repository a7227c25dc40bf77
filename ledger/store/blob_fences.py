"""Fences of blobs, in a tenant's database: what keeps a sweep of garbage and the recording of references
apart. The words are explained in migrations/tenant/sql/0006_blobs.sql.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

from blobstore import Digest
from ledger.errors import CollectionRunning
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.reader import CLOSE_SECONDS, Reader
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

UNSEEN_EVENTS_MAX = 500
"""How many events a condemnation looks through while appends wait for it."""
CALL_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.2

_SQL = load_statements("ledger.store", "queries.sql")


class Fence(NamedTuple):
    fence_id: UUID
    is_deleted: bool


class BlobFences:
    """For whoever puts: what stands in the way of recording a blob, and taking it away."""

    def __init__(self, database: TenantDatabase, reader: Reader) -> None:
        self._database = database
        self._reader = reader

    async def standing(self, digest: Digest) -> Fence | None:
        rows = await self._reader.fetch(_SQL["blob_fence"], bytes.fromhex(digest), doing="reading a fence")
        return Fence(*rows[0]) if rows else None

    async def lift(self, digest: Digest, fence: Fence) -> bool:
        """Whether it was still this fence that stood. The blob must have been put since it was seen."""
        async with self._database.lease(Role.WRITER) as connection:
            raw = bytes.fromhex(digest)
            lifted: bool = await _call(self._database, connection, "lift_fence", raw, fence.fence_id)
            return lifted

    async def pause(self) -> None:
        """Until it is worth looking again."""
        await asyncio.sleep(_POLL_SECONDS)


class Sweeper:
    """For the one sweep of a tenant: its connection holds the lock that makes it the only one."""

    def __init__(self, database: TenantDatabase, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, database: TenantDatabase) -> "AsyncIterator[Sweeper]":
        """Raises CollectionRunning."""
        connection = await database.connect(Role.COLLECTOR)
        try:
            if not await _call(database, connection, "try_collection_lock"):
                raise CollectionRunning(
                    f"Garbage of tenant {database.tenant_id!r} is being collected by another process",
                    fix="Wait for its end",
                )
            yield cls(database, connection)
        finally:
            with contextlib.suppress(*POSTGRES_ERRORS):  # the server is gone: asyncpg has aborted it
                await connection.close(timeout=CLOSE_SECONDS)

    async def condemn(self, digests: Sequence[Digest], seen: int) -> list[Digest] | None:
        """Those of `digests` that no event after `seen` mentions: their blobs may be deleted from now on, and
        cannot be referred to until they are put again. None, and nothing done, where too many events came
        since."""
        condemned = await self._call("condemn_blobs", _raw(digests), seen, UNSEEN_EVENTS_MAX)
        return None if condemned is None else [Digest(digest.hex()) for digest in condemned]

    async def deleted(self, digests: Iterable[Digest]) -> None:
        """Their blobs' deletions have returned."""
        await self._call("blobs_deleted", _raw(digests))

    async def take_over(self, silent_seconds: float, most: int) -> list[Digest]:
        """At most `most` condemned digests of sweeps that were not heard of for so long: ours to delete."""
        rows = await self._call("take_over_fences", silent_seconds, most)
        return [Digest(digest.hex()) for digest in rows]

    async def _call(self, statement: str, *arguments: Any) -> Any:
        return await _call(self._database, self._connection, statement, *arguments)


async def _call(database: TenantDatabase, connection: Connection, statement: str, *arguments: Any) -> Any:
    try:
        return await connection.fetchval(_SQL[statement], *arguments, timeout=CALL_SECONDS_MAX)
    except POSTGRES_ERRORS as error:
        raise store_error(error, "collecting garbage", database.server.name) from error


def _raw(digests: Iterable[Digest]) -> list[bytes]:
    return [bytes.fromhex(digest) for digest in digests]

"""Datastore: an application's connections to its tenant's database, driven from other threads.

One connection in the writer role, used by one call at a time (commits queue at the head's row
anyway), and a small pool in the reader role. Every call ends within its deadline. Nothing is opened
before the first call: the library makes factories that it never uses and never closes.
"""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from ledger.errors import DaichoError, LedgerClosed, StoreUnavailable
from ledger.store.postgres_errors import CONNECTION_LOST, POSTGRES_ERRORS, store_error
from ledger.store.reader import CLOSE_SECONDS, Reader
from ledger.store.recorder import background
from ledger.store.recorder.background import Background
from ledger.store.recorder.errors import RecordConflict, RecorderClosed, RecorderError, RecorderUnavailable
from ledger.store.recorder.handles import TenantHandle
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role

READERS_MAX = 4
DEADLINE_SECONDS = 30.0

_SQL = load_statements("ledger.store.recorder", "queries.sql")
EXPECTED: tuple[type[BaseException], ...] = (*POSTGRES_ERRORS, DaichoError)
T = TypeVar("T")


class Datastore:
    """`appended` tells of recordings by the applications of this process on the same tenant."""

    def __init__(self, handle: TenantHandle, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self.database = handle.database
        self.appended = handle.appended
        self._deadline_seconds = deadline_seconds
        self._writing = asyncio.Lock()
        self._writer: Connection | None = None
        self._reader: Reader | None = None
        self._making_reader = asyncio.Lock()
        self._opening = threading.Lock()
        self._background: Background | None = None
        self._closed = False

    def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        """Rows of a reading statement."""
        return self._run(self._fetch(statement, *arguments), "reading")

    def write(self, statement: str, *arguments: Any) -> None:
        """One call of a writing function, in its own transaction. Raises RecordConflict."""
        self._run(self._write(statement, arguments), "recording")

    def append(self, ids: Sequence[UUID], salts: Sequence[bytes], *others: Any) -> list[int]:
        """`append_stored_events_v1`: the positions of the events, all recorded or none.

        Where the connection is lost, it is done once more on a new one. If the first call did
        commit, the second meets its own events, which their random salts prove to be this call's.
        """
        positions = self._run(self._append(list(ids), list(salts), others), "recording")
        self.appended.notify()
        return positions

    def close(self) -> None:
        """Lets go of the connections; the last application to close stops the background thread."""
        with self._opening:
            opened, self._background = self._background, None
            self._closed = True
        if opened is not None and opened.is_ours():
            try:
                opened.run(self._close())
            finally:
                background.release(opened)

    def _run(self, work: Coroutine[Any, Any, T], doing: str) -> T:
        try:
            return self._opened(work).run(self._in_time(work))
        except RecordConflict:
            raise
        except LedgerClosed as error:
            raise RecorderClosed(error.problem, fix=error.fix) from error
        except EXPECTED as error:
            raise self._typed(error, doing) from error

    def _opened(self, work: Coroutine[Any, Any, T]) -> Background:
        with self._opening:
            if self._closed:
                work.close()
                raise RecorderClosed("The application was closed", fix="Build it anew")
            if self._background is None:
                self._background = background.acquire()
            return self._background

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        async with self._making_reader:
            if self._reader is None:
                self._reader = await Reader.open(self.database, connections_max=READERS_MAX)
        return await self._reader.fetch(_SQL[statement], *arguments)

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        async with asyncio.timeout(self._deadline_seconds):
            return await work

    def _typed(self, error: BaseException, doing: str) -> DaichoError:
        if isinstance(error, ValueError) and isinstance(error, asyncpg.InterfaceError):
            return RecorderError(f"A value fits no column while {doing}: {error}")  # asyncpg's DataError
        found = store_error(error, f"{doing} stored events", self.database.server.name)
        kind = RecorderUnavailable if isinstance(found, StoreUnavailable) else RecorderError
        return kind(found.problem, expected=found.expected, found=found.found, fix=found.fix)

    async def _append(self, ids: list[UUID], salts: list[bytes], others: Sequence[Any]) -> list[int]:
        arguments = (ids, *others[:4], salts, *others[4:])
        try:
            positions: list[int] = await self._write("append", arguments)
        except CONNECTION_LOST as error:
            if not ids or isinstance(error, ValueError):
                raise
            positions = await self._append_again(ids, salts, arguments)
        return positions

    async def _append_again(self, ids: list[UUID], salts: list[bytes], arguments: Sequence[Any]) -> list[int]:
        try:
            positions: list[int] = await self._write("append", arguments)
        except RecordConflict:
            rows = await self._fetch("own_positions", ids, salts)
            if len(rows) != len(ids):
                raise
            positions = [row["position"] for row in rows]
        return positions

    async def _write(self, statement: str, arguments: Sequence[Any]) -> Any:
        async with self._writing:
            try:
                if self._writer is None or self._writer.is_closed():
                    self._writer = await self.database.connect(Role.WRITER)
                return await self._writer.fetchval(_SQL[statement], *arguments)
            except asyncpg.UniqueViolationError as error:
                raise RecordConflict(
                    "A version of a stream, or a tracked notification, is recorded already",
                    found=error.detail or str(error),
                    fix="Nothing of this call was written. Load the aggregate again and decide anew",
                ) from error
            except asyncpg.PostgresError as error:
                if isinstance(error, CONNECTION_LOST):
                    self._drop_writer()
                raise
            except BaseException:
                # Cancelled in mid-flight: the answer of this call must not meet the next one.
                self._drop_writer()
                raise

    async def _close(self) -> None:
        async with self._writing:
            if self._writer is not None:
                try:
                    await self._writer.close(timeout=CLOSE_SECONDS)
                except POSTGRES_ERRORS:
                    pass  # the server is gone or hangs: asyncpg has aborted the connection
                finally:
                    self._writer = None
        if self._reader is not None:
            await self._reader.close()

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.terminate()
            self._writer = None

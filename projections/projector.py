"""Projector: folds new events into a projection's tables, rows and checkpoint in one transaction.

Any number of processes may project one tenant: the checkpoint's row lock lets one of them work at
a time, and whoever finds the checkpoint moved forgets what it held in memory.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.contract.events import RecordedEvent
from ledger.errors import DaichoError, ProjectionStopped, StoreError, StoreUnavailable
from ledger.logs import get_logger
from ledger.store.event_store import EventStore
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role
from ledger.store.wakeup import Wakeup, projected_topic
from projections.core import CORE
from projections.definition import Projection, S, State
from projections.fold import erased_position
from projections.rows import Row, from_record, to_record
from projections.streams import folded_stream
from projections.table_making import ensure_tables, require_version
from projections.table_sql import delete_by_run, select_by_run, upsert

BATCH_EVENTS_MAX = 1_000
RUNS_REMEMBERED_MAX = 2_000
STOP_REASON_CHARS_MAX = 1_000
RETRY_PAUSE_SECONDS = 0.5
EAGER_POLL_SECONDS = 0.004
EAGER_SECONDS = 0.5
"""How often and how long, after events came, an eager projector looks by itself: wake-ups of other
processes are spaced further apart than a row should take to be seen."""

_SQL = load_statements("projections", "queries.sql")
log = get_logger(__name__)


@dataclass(frozen=True)
class Stopped:
    """Where and why a projection stopped."""

    position: int
    reason: str


class Projector:
    """One projection of one tenant. `run_until_cancelled` follows live; `catch_up` comes to the head once."""

    def __init__(
        self, store: EventStore, projection: Projection[Any] = CORE, *, is_eager: bool = False
    ) -> None:
        self.projection = projection
        self.advanced = Wakeup()
        self.stopped: Stopped | None = None
        self.idle_since: float | None = None
        """Since when it has found nothing to do (the event loop's clock); None while it has."""
        self.is_out_of_reach = False
        """Whether the database could not be reached at the last attempt."""
        self._is_eager = is_eager
        self._store = store
        self._states: OrderedDict[str, State] = OrderedDict()
        self._position: int | None = None
        self._version: int | None = None
        self._rebuilds = 0
        self._one_by_one_upto = 0

    @property
    def tenant_id(self) -> str:
        return self._store.tenant_id

    async def catch_up(self) -> int:
        """Projects until nothing is left; returns the checkpoint."""
        while await self.project_batch():
            pass
        assert self._position is not None
        return self._position

    async def run_until_cancelled(self) -> None:
        """Follows the store. Where it is out of reach, tries again; at an event that cannot be
        projected it stops, keeps the reason in `stopped` and beside the checkpoint, and leaves the
        tables as they are."""
        while True:
            try:
                done = await self.project_batch()
                self.is_out_of_reach = False
                if done:
                    self.idle_since = None
                else:
                    await self._more()
            except StoreUnavailable as error:
                self.is_out_of_reach = True
                log.warning("projection_retry", tenant_id=self._store.tenant_id, problem=error.problem)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
            except ProjectionStopped:
                self.advanced.notify()
                return
            except Exception as error:
                # Whoever waits must hear of it: a task that died without a word is waited for in vain.
                await self._stop(self._position or 0, error)
                self.advanced.notify()
                return

    async def _more(self) -> None:
        """Waits until there is, or may be, an event after the checkpoint."""
        now = asyncio.get_running_loop().time()
        if self.idle_since is None:
            self.idle_since = now
        assert self._position is not None
        if self._is_eager and now - self.idle_since < EAGER_SECONDS:
            await asyncio.sleep(EAGER_POLL_SECONDS)
        else:
            await self._store.appended.beyond(self._position)

    async def project_batch(self) -> int:
        """Projects up to 1,000 events in one transaction; returns how many. A batch that cannot be
        projected is done event by event, so that all events before the culprit are in the tables."""
        if self._position is None:
            async with self._store.database.lease(Role.PROJECTOR) as connection:
                self._position = await self._found_checkpoint(connection)
        limit = 1 if self._position < self._one_by_one_upto else BATCH_EVENTS_MAX
        events = await self._store.read(self._position, limit)
        if not events:
            return 0
        try:
            async with self._store.database.lease(Role.PROJECTOR) as connection:
                done = await self._commit(connection, events)
        except StoreUnavailable:
            self._forget()
            raise
        except Exception as error:
            self._forget()
            self._raise_if_unavailable(error)
            if len(events) == 1:
                raise await self._stopped_at(events[0], error) from error
            self._one_by_one_upto = events[-1].position
            return await self.project_batch()
        except BaseException:
            self._forget()
            raise
        if done:
            self._position = events[-1].position
            self._store.announcer.announce(projected_topic(self._store.database.name))
        else:
            self._forget()
        self.advanced.notify()  # by this projector or by the one that was faster
        return len(events)

    async def close(self) -> None:
        """Forgets what it holds in memory; connections it has only while it works."""
        self._forget()

    async def _commit(self, connection: Connection, events: Sequence[RecordedEvent]) -> bool:
        async with connection.transaction():
            # What a crash takes from the tables is folded again; the events are flushed already.
            await connection.execute("SET LOCAL synchronous_commit = off")
            found = await connection.fetchrow(_SQL["lock_checkpoint"], self.projection.name)
            if found is None or tuple(found) != (self._position, self._version, self._rebuilds):
                return False
            again = await streams_to_fold_again(connection, events)
            await self._load_missing(connection, {event.run_id for event in events} - again)
            rows = self._fold([event for event in events if event.run_id not in again])
            for run_id in again:
                rows += await self._fold_again(connection, run_id, events[-1].position)
            await write_rows(connection, rows)
            moved = await connection.execute(
                _SQL["move_checkpoint"],
                self.projection.name,
                self._position,
                events[-1].position,
                self.projection.version,
            )
            assert moved == "UPDATE 1", "the checkpoint moved under its own lock"
        self._version = self.projection.version
        self._trim()
        return True

    def _fold(self, events: Sequence[RecordedEvent]) -> list[Row]:
        touched: dict[str, State] = {}
        for event in events:
            state = self._states[event.run_id]
            self._states.move_to_end(event.run_id)
            self.projection.fold(state, event)
            touched[event.run_id] = state
        return [row for state in touched.values() for row in state.take_touched()]

    async def _fold_again(self, connection: Connection, run_id: str, upto: int) -> list[Row]:
        """After an erasure: the stream's rows, made from what its events say now; the old ones go. A row
        does not tell which events it was made from, so nothing less would surely be enough."""
        for row_type in self.projection.tables:
            await connection.execute(delete_by_run(row_type), [run_id])
        state: State = await folded_stream(connection, self.projection, self._store.tenant_id, run_id, upto)
        self._states[run_id] = state
        return state.take_touched()

    async def _load_missing(self, connection: Connection, run_ids: set[str]) -> None:
        missing = [run_id for run_id in run_ids if run_id not in self._states]
        self._states.update(await load_states(connection, self.projection, missing))

    async def _found_checkpoint(self, connection: Connection) -> int:
        try:
            await ensure_tables(connection, self.projection)
            found = await connection.fetchrow(_SQL["checkpoint_and_version"], self.projection.name)
        except POSTGRES_ERRORS as error:
            raise store_error(error, "reading the checkpoint", self._store.database.server.name) from error
        if found is None:
            raise StoreError(
                f"The projection {self.projection.name!r} has no checkpoint",
                fix=f"`daicho rebuild --projection {self.projection.name}` makes its tables anew",
            )
        position, self._version, self._rebuilds = found
        require_version(self.projection, position, self._version)
        return int(position)

    def _raise_if_unavailable(self, error: Exception) -> None:
        # asyncpg says of a value that fits no column that it is both an InterfaceError and a
        # ValueError: that one no other connection will cure.
        if isinstance(error, POSTGRES_ERRORS) and not isinstance(error, ValueError):
            unavailable = store_error(error, "projecting", self._store.database.server.name)
            if isinstance(unavailable, StoreUnavailable):
                raise unavailable from error

    async def _stopped_at(self, event: RecordedEvent, error: Exception) -> ProjectionStopped:
        await self._stop(event.position, error)
        whose = "daicho" if self.projection is CORE else type(self.projection).__module__
        return ProjectionStopped(
            f"The event at position {event.position} could not be projected: {error!r}",
            fix=f"`{show_event(self._store.tenant_id, event.position)}` shows it; "
            f"this is a fault of {whose}, report it",
        )

    async def _stop(self, position: int, error: Exception) -> None:
        self.stopped = Stopped(position, str(error) or type(error).__name__)
        log.error(
            "projection_stopped",
            tenant_id=self._store.tenant_id,
            projection=self.projection.name,
            position=position,
            reason=self.stopped.reason,
        )
        if position:
            await self._note_stop(self.stopped)

    async def _note_stop(self, stopped: Stopped) -> None:
        """Beside the checkpoint, where other processes read it. Where the database cannot be reached, what
        is lost is a note: whoever projects next stops at the same event."""
        try:
            async with self._store.database.lease(Role.PROJECTOR) as connection:
                reason = stopped.reason[:STOP_REASON_CHARS_MAX].replace("\x00", "")
                await connection.execute(
                    _SQL["note_stop"], self.projection.name, stopped.position - 1, stopped.position, reason
                )
        except DaichoError as error:
            log.warning("projection_stop_not_noted", tenant_id=self._store.tenant_id, problem=error.problem)
        except POSTGRES_ERRORS as error:
            log.warning("projection_stop_not_noted", tenant_id=self._store.tenant_id, problem=str(error))

    def _forget(self) -> None:
        self._states.clear()
        self._position = None

    def _trim(self) -> None:
        while len(self._states) > RUNS_REMEMBERED_MAX:
            self._states.popitem(last=False)


def show_event(tenant_id: str, position: int) -> str:
    """The command that shows the event at `position`."""
    return f"daicho tail -t {tenant_id} --after {position - 1} --json | head -1"


async def streams_to_fold_again(connection: Connection, events: Sequence[RecordedEvent]) -> set[str]:
    """The streams of the events whose erasure is recorded among `events`."""
    positions = [position for event in events if (position := erased_position(event)) is not None]
    if not positions:
        return set()
    rows = await connection.fetch(_SQL["streams_of_positions"], positions)
    return {row["stream_id"] for row in rows}


async def load_states(
    connection: Connection, projection: Projection[S], run_ids: Sequence[str]
) -> dict[str, S]:
    """The states of these streams as the tables hold them; empty where they hold nothing."""
    states = {run_id: projection.new_state(run_id) for run_id in run_ids}
    wanted: dict[type[Row], list[str]] = {}
    for run_id in states:
        for row_type in projection.state_tables(run_id):
            wanted.setdefault(row_type, []).append(run_id)
    for row_type, named in wanted.items():
        for record in await connection.fetch(select_by_run(row_type), named):
            states[record["run_id"]].add(from_record(row_type, record))
    return states


async def write_rows(
    connection: Connection, rows: Sequence[Row], names: Mapping[type[Row], str] | None = None
) -> None:
    """Inserts or replaces rows, of which no two have the same key, in the live tables or in those named."""
    records: dict[type[Row], list[tuple[Any, ...]]] = {}
    for row in rows:
        records.setdefault(type(row), []).append(to_record(row))
    for row_type, of_type in records.items():
        table = None if names is None else names[row_type]
        await connection.execute(upsert(row_type, table), *map(list, zip(*of_type, strict=True)))

"""Projector: folds new events into a projection's tables, rows and checkpoint in one transaction.

Any number of processes may project one tenant: the checkpoint's row lock lets one of them work at
a time, and whoever finds the checkpoint moved forgets what it held in memory.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
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
from projections.definition import Projection, State
from projections.live_tables import (
    Checkpoint,
    advance,
    first_of_stream,
    load_states,
    lock_checkpoint,
    records_erasure,
    streams_to_fold_again,
)
from projections.rows import Row
from projections.streams import folded_stream
from projections.table_making import ensure_tables, require_version
from projections.table_sql import delete_by_run

BATCH_EVENTS_MAX = 1_000
RUNS_REMEMBERED_MAX = 2_000
STOP_REASON_CHARS_MAX = 1_000
RETRY_PAUSE_SECONDS = 0.5
BATCH_SPACING_SECONDS = 0.005
"""From the beginning of a batch that was not full to the next: while events come one by one, a batch for each
would take the processor from those who emit."""
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
        self._checkpoint: Checkpoint | None = None
        self._one_by_one_upto = 0

    @property
    def tenant_id(self) -> str:
        return self._store.tenant_id

    async def catch_up(self) -> int:
        """Projects until nothing is left; returns the checkpoint."""
        while await self.project_batch() or await self._is_elsewhere():
            pass
        assert self._checkpoint is not None
        return self._checkpoint.position

    async def _is_elsewhere(self) -> bool:
        """Whether the checkpoint is not where it was left, as after a restore; then all is forgotten."""
        async with self._store.database.lease(Role.PROJECTOR) as connection:
            is_elsewhere = await self._found_checkpoint(connection) != self._checkpoint
        if is_elsewhere:
            self._forget()
        return is_elsewhere

    async def run_until_cancelled(self) -> None:
        """Follows the store. Where it is out of reach, tries again; at an event that cannot be
        projected it stops, keeps the reason in `stopped` and beside the checkpoint, and leaves the
        tables as they are."""
        now = asyncio.get_running_loop().time
        while True:
            try:
                began = now()
                done = await self.project_batch()
                self.is_out_of_reach = False
                if not done:
                    await self._more()
                    continue
                self.idle_since = None
                rest = began + BATCH_SPACING_SECONDS - now()
                if rest > 0 and done < BATCH_EVENTS_MAX and not self._is_one_by_one:
                    await asyncio.sleep(rest)
            except StoreUnavailable as error:
                self.is_out_of_reach = True
                log.warning("projection_retry", tenant_id=self._store.tenant_id, problem=error.problem)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
            except ProjectionStopped:
                self.advanced.notify()
                return
            except Exception as error:
                # Whoever waits must hear of it: a task that died without a word is waited for in vain.
                await self._stop(self._checkpoint.position if self._checkpoint else 0, error)
                self.advanced.notify()
                return

    async def _more(self) -> None:
        """Waits until there is, or may be, an event after the checkpoint."""
        now = asyncio.get_running_loop().time()
        if self.idle_since is None:
            self.idle_since = now
        assert self._checkpoint is not None
        if self._is_eager and now - self.idle_since < EAGER_SECONDS:
            await asyncio.sleep(EAGER_POLL_SECONDS)
        else:
            await self._store.appended.beyond(self._checkpoint.position)

    async def project_batch(self) -> int:
        """Projects up to 1,000 events in one transaction; returns how many. A batch that cannot be
        projected is done event by event, so that all events before the culprit are in the tables."""
        if self._checkpoint is None:
            async with self._store.database.lease(Role.PROJECTOR) as connection:
                self._checkpoint = await self._found_checkpoint(connection)
        found = self._checkpoint
        limit = 1 if self._is_one_by_one else BATCH_EVENTS_MAX
        events = await self._store.read(found.position, limit)
        if not events:
            return 0
        try:
            async with self._store.database.lease(Role.PROJECTOR) as connection:
                done = await self._commit(connection, found, events)
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
            self._checkpoint = found._replace(position=events[-1].position, version=self.projection.version)
            self._trim()
            self._store.announcer.announce(projected_topic(self._store.database.name))
        else:
            self._forget()
        self.advanced.notify()  # by this projector or by the one that was faster
        return len(events)

    @property
    def _is_one_by_one(self) -> bool:
        """Whether a culprit may be near; then each event is a batch."""
        return self._checkpoint is not None and self._checkpoint.position < self._one_by_one_upto

    async def close(self) -> None:
        """Forgets what it holds in memory; connections it has only while it works."""
        self._forget()

    async def _commit(
        self, connection: Connection, found: Checkpoint, events: Sequence[RecordedEvent]
    ) -> bool:
        position, rows = events[-1].position, None
        if self._knows_streams_of(events):
            rows = self._fold(events)
            if await advance(connection, self.projection, found, position, rows):
                return True
        async with connection.transaction():
            if await lock_checkpoint(connection, self.projection.name) != found:
                return False
            if rows is None:
                rows = await self._load_and_fold(connection, events)
            moved = await advance(connection, self.projection, found, position, rows)
            assert moved, "the checkpoint moved under its own lock"
        return True

    def _knows_streams_of(self, events: Sequence[RecordedEvent]) -> bool:
        """Whether the events can be folded with nothing read; streams that begin with them are known then."""
        if records_erasure(events):
            return False
        for event in events:
            if event.run_id not in self._states:
                if not first_of_stream(event):
                    return False
                self._states[event.run_id] = self.projection.new_state(event.run_id)
        return True

    async def _load_and_fold(self, connection: Connection, events: Sequence[RecordedEvent]) -> list[Row]:
        again = await streams_to_fold_again(connection, events)
        missing = {event.run_id for event in events} - again - self._states.keys()
        self._states.update(await load_states(connection, self.projection, list(missing)))
        rows = self._fold([event for event in events if event.run_id not in again])
        for run_id in again:
            rows += await self._fold_again(connection, run_id, events[-1].position)
        return rows

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

    async def _found_checkpoint(self, connection: Connection) -> Checkpoint:
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
        checkpoint = Checkpoint(*found)
        require_version(self.projection, checkpoint.position, checkpoint.version)
        return checkpoint

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
        self._checkpoint = None

    def _trim(self) -> None:
        while len(self._states) > RUNS_REMEMBERED_MAX:
            self._states.popitem(last=False)


def show_event(tenant_id: str, position: int) -> str:
    """The command that shows the event at `position`."""
    return f"daicho tail -t {tenant_id} --after {position - 1} --json | head -1"

"""Aggregate recorders: the events of aggregates in `ledger.events`, their snapshots beside it."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from eventsourcing.persistence import AggregateRecorder, ProgrammingError, StoredEvent, Tracking

from ledger.store.append import SALT_BYTES
from ledger.store.codec import PAYLOAD_BYTES_MAX
from ledger.store.event_store import MAX_POSITION
from ledger.store.recorder.datastore import Datastore
from ledger.store.recorder.errors import InvalidStoredEvent, StateErased
from ledger.store.recorder.naming import checked_topic, stream_id

SNAPSHOT_BYTES_MAX = 16 * 1024 * 1024
VERSION_MAX = MAX_POSITION
_EVENT_ID_NAMESPACE = UUID("5b0a3c62-1f0e-5d8b-9d55-1c8a9a6f7e21")


class Columns(NamedTuple):
    """Stored events as the arrays that the database's functions take."""

    streams: list[str]
    versions: list[int]
    topics: list[str]
    states: list[bytes]


class DaichoAggregateRecorder(AggregateRecorder):
    """Records and selects events of `application`'s aggregates on the tenant's log."""

    def __init__(self, datastore: Datastore, application: str) -> None:
        self.datastore = datastore
        self.application = application

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """All or none; returns after the commit is durable. Raises RecordConflict (an IntegrityError)
        where a version is there already, InvalidStoredEvent, RecorderUnavailable."""
        refuse_tracking(self, kwargs)
        self._append(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """An originator's events in order of version. Raises StateErased where one has lost its state."""
        return self._select("select_events", originator_id, gt, lte, desc, limit)

    def state_of(self, state: bytes | None, originator_id: UUID | str, version: int) -> bytes:
        """`state` as the library gets it; None is one that was erased. Raises StateErased."""
        return known(state, originator_id, version)

    def _append(self, stored_events: Sequence[StoredEvent], tracking: Tracking | None = None) -> list[int]:
        if not stored_events and tracking is None:
            return []
        columns = _columns(self.application, stored_events, PAYLOAD_BYTES_MAX)
        tenant_id = self.datastore.database.tenant_id
        ids = [
            event_id(tenant_id, stream, version)
            for stream, version in zip(columns.streams, columns.versions, strict=True)
        ]
        tracked = (None, None) if tracking is None else (tracking.application_name, tracking.notification_id)
        salts = [os.urandom(SALT_BYTES) for _ in ids]
        return self.datastore.append(ids, salts, *columns, self.application, *tracked)

    def _select(
        self,
        statement: str,
        originator_id: UUID | str,
        gt: int | None,
        lte: int | None,
        desc: bool,
        limit: int | None,
    ) -> list[StoredEvent]:
        rows = self.datastore.fetch(
            f"{statement}_desc" if desc else statement,
            stream_id(self.application, originator_id),
            -1 if gt is None else min(gt, VERSION_MAX),
            VERSION_MAX if lte is None else min(lte, VERSION_MAX),
            limit,
        )
        return [
            StoredEvent(originator_id, version, topic, self.state_of(state, originator_id, version))
            for version, topic, state in rows
        ]


class DaichoSnapshotRecorder(DaichoAggregateRecorder):
    """Snapshots of `application`'s aggregates: derived from events, so not in the log."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        refuse_tracking(self, kwargs)
        if stored_events:
            columns = _columns(self.application, stored_events, SNAPSHOT_BYTES_MAX)
            self.datastore.write("insert_snapshots", *columns)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        return self._select("select_snapshots", originator_id, gt, lte, desc, limit)


def event_id(tenant_id: str, stream: str, version: int) -> UUID:
    """The id of an application's event: the library gives none, and its place names it for good."""
    return uuid5(_EVENT_ID_NAMESPACE, f"{tenant_id}\x1f{version}\x1f{stream}")


def known(state: bytes | None, originator_id: UUID | str, version: int) -> bytes:
    if state is None:
        raise StateErased(
            f"The state of version {version} of {originator_id} was erased",
            fix="The aggregate cannot be built from its events any more; its other events stand",
        )
    return state


def _columns(application: str, stored_events: Sequence[StoredEvent], state_bytes_max: int) -> Columns:
    """Raises InvalidStoredEvent, before anything is sent, for what the tables would refuse."""
    for event in stored_events:
        _check(event, state_bytes_max)
    return Columns(
        [stream_id(application, event.originator_id) for event in stored_events],
        [event.originator_version for event in stored_events],
        [checked_topic(event.topic, application) for event in stored_events],
        [event.state for event in stored_events],
    )


def _check(event: StoredEvent, state_bytes_max: int) -> None:
    if len(event.state) > state_bytes_max:
        raise InvalidStoredEvent(
            f"The state of {event.topic} is too large",
            expected=f"at most {state_bytes_max} bytes",
            found=f"{len(event.state)} bytes",
            fix="Store the body as an artifact and keep its reference in the event",
        )
    if not 0 <= event.originator_version <= VERSION_MAX:
        raise InvalidStoredEvent(
            f"Version {event.originator_version} of {event.originator_id} cannot be recorded",
            expected="versions from 0",
            fix="Nothing was sent",
        )


def refuse_tracking(recorder: AggregateRecorder, kwargs: dict[str, Any]) -> None:
    if kwargs.get("tracking") is not None:
        raise ProgrammingError(f"{type(recorder).__name__} records no tracking: use a process recorder")

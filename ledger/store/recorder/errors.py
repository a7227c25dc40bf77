"""Errors of the recorder: each is one of ours and one of the library's, so that code written for
either catches it."""

from eventsourcing import persistence

from ledger.errors import (
    DaichoError,
    InvalidEvent,
    LedgerClosed,
    SettingsError,
    StoreError,
    StoreUnavailable,
    VersionConflict,
)


class RecordConflict(VersionConflict, persistence.IntegrityError):
    """A version of a stream, or a tracked notification, is recorded already. Nothing was written."""


class InvalidStoredEvent(InvalidEvent, persistence.DataError):
    """A stored event that the ledger cannot take; nothing was sent."""


class RecorderUnavailable(StoreUnavailable, persistence.OperationalError):
    """PostgreSQL is out of reach. Read the stream again before repeating: it may be recorded."""


class RecorderError(StoreError, persistence.DatabaseError):
    """PostgreSQL answered with an error that trying again will not cure."""


class RecorderClosed(LedgerClosed, persistence.InterfaceError):
    """The application was closed, or this is a process forked from the one that made it."""


class StateErased(DaichoError, persistence.DataError):
    """The state of this event was erased, so the aggregate cannot be built from its events."""


class TenantHandleMissing(SettingsError, persistence.InfrastructureFactoryError):
    """The environment names no tenant of this process."""

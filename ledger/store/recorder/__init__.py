"""Recorder: a persistence module for the `eventsourcing` library over a tenant's own event log.

An `Application` built with `tenant.application_env()` records its aggregates' events in
`ledger.events`, under the same head, order, immutability and proofs as the facts of runs.

application   its name keeps its streams, snapshots and tracking apart from other applications'
stream        `application/originator`; no run has a slash in its id, so none can be mistaken
notification  an event of the application; its id is the position in the tenant's log, so ids rise
              and commit in order, and those in between belong to runs or to other applications

The library is synchronous: calls wait for one background thread that runs an event loop. In a
coroutine, call through `asyncio.to_thread`. After a fork, build the application in the child.
"""

from ledger.store.recorder.aggregates import DaichoAggregateRecorder, DaichoSnapshotRecorder
from ledger.store.recorder.applications import DaichoApplicationRecorder
from ledger.store.recorder.errors import (
    InvalidStoredEvent,
    RecordConflict,
    RecorderClosed,
    RecorderError,
    RecorderUnavailable,
    StateErased,
    TenantHandleMissing,
)
from ledger.store.recorder.factory import DaichoFactory
from ledger.store.recorder.handles import register, release
from ledger.store.recorder.processes import DaichoProcessRecorder, DaichoTrackingRecorder
from ledger.store.recorder.transcoder import OrjsonTranscoder

__all__ = [
    "DaichoAggregateRecorder",
    "DaichoApplicationRecorder",
    "DaichoFactory",
    "DaichoProcessRecorder",
    "DaichoSnapshotRecorder",
    "DaichoTrackingRecorder",
    "InvalidStoredEvent",
    "OrjsonTranscoder",
    "RecordConflict",
    "RecorderClosed",
    "RecorderError",
    "RecorderUnavailable",
    "StateErased",
    "TenantHandleMissing",
    "register",
    "release",
]

"""Tracking and process recorders: how far an application has processed another's notifications,
committed together with the events that came of it."""

from collections.abc import Sequence
from typing import Any

from eventsourcing.persistence import ProcessRecorder, StoredEvent, Tracking, TrackingRecorder

from ledger.store.recorder.applications import DaichoApplicationRecorder
from ledger.store.recorder.datastore import Datastore


class DaichoTrackingRecorder(TrackingRecorder):
    """`application` is who tracks; a Tracking's application_name is whom it follows. Each pair has
    one row that only moves forward."""

    def __init__(self, datastore: Datastore, application: str) -> None:
        self.datastore = datastore
        self.application = application

    def insert_tracking(self, tracking: Tracking) -> None:
        """Raises RecordConflict (an IntegrityError) where it is tracked that far already."""
        self.datastore.write(
            "insert_tracking", self.application, tracking.application_name, tracking.notification_id
        )

    def max_tracking_id(self, application_name: str) -> int | None:
        rows = self.datastore.fetch("max_tracking_id", self.application, application_name)
        return rows[0]["notification_id"] if rows else None


class DaichoProcessRecorder(DaichoTrackingRecorder, DaichoApplicationRecorder, ProcessRecorder):
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Events and `tracking`, all in one transaction or nothing."""
        return self._append(stored_events, kwargs.get("tracking"))

"""Application recorder: an application's events in the order of the tenant's log."""

from collections.abc import Sequence
from typing import Any

from eventsourcing.persistence import ApplicationRecorder, Notification, StoredEvent, Subscription

from ledger.store.event_store import MAX_POSITION
from ledger.store.originators import originator_id
from ledger.store.recorder.aggregates import DaichoAggregateRecorder, known, refuse_tracking
from ledger.store.recorder.subscription import DaichoSubscription


class DaichoApplicationRecorder(DaichoAggregateRecorder, ApplicationRecorder):
    """A notification's id is its event's position. Positions have no gaps in the tenant's log; of
    one application they rise, with those of runs and of other applications in between."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """All or none; the events' positions, in order."""
        refuse_tracking(self, kwargs)
        return self._append(stored_events)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        after = 0 if start is None else start - 1 if inclusive_of_start else start
        rows = self.datastore.fetch(
            "select_notifications",
            self.application,
            min(after, MAX_POSITION),
            MAX_POSITION if stop is None else min(stop, MAX_POSITION),
            list(topics) or None,
            limit,
        )
        return [_notification(row) for row in rows]

    def max_notification_id(self) -> int | None:
        rows = self.datastore.fetch("max_notification_id", self.application)
        return rows[0]["position"] if rows else None

    def head(self) -> int:
        """The last position of the tenant's log, whoever recorded it; 0 where nothing is."""
        position: int = self.datastore.fetch("head")[0]["position"]
        return position

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Every notification after `gt` once and in order: those that are there, then live ones."""
        return DaichoSubscription(self, gt, topics)


def _notification(row: Any) -> Notification:
    originator = originator_id(row["stream_id"])
    return Notification(
        originator_id=originator,
        originator_version=row["version"],
        topic=row["event_type"],
        state=known(row["payload"], originator, row["version"]),
        id=row["position"],
    )

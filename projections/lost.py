"""Lost attempts: those that run longer than they may. The fold is pure and knows no clock, so somebody
who has one records the fact, and the fold marks the attempt.

deadline   the attempt's start plus its `timeout_seconds`
grace      how long after the deadline an end is still waited for: clocks of workers differ, and a worker that
           enforces the timeout itself needs a moment to say so
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ledger.contract.context import ExecutionContext, derive_event_id
from ledger.contract.events import Event, EventType, RecordedEvent
from ledger.errors import EventConflict, VersionConflict
from ledger.store.event_store import EventStore
from ledger.store.reader import Reader
from ledger.store.statements import load_statements

DETECTOR = "daicho"
GRACE_SECONDS = 30.0
SWEPT_AT_ONCE = 100

_SQL = load_statements("projections", "lost.sql")


@dataclass(frozen=True)
class Overdue:
    """An attempt that the tables have as running past its deadline and the grace."""

    run_id: str
    step_id: str
    ordinal: int
    attempt: int
    started_at: datetime
    timeout_seconds: float
    worker: str | None
    run_version: int

    def event(self, tenant_id: str) -> Event:
        """The same attempt gives the same event, whoever sweeps and however often."""
        context = ExecutionContext(
            run_id=self.run_id,
            step_id=self.step_id,
            attempt=self.attempt,
            tenant_id=tenant_id,
            started_at=self.started_at,
        )
        return Event(
            event_type=EventType.STEP_LOST,
            run_id=self.run_id,
            step_id=self.step_id,
            attempt=self.attempt,
            tenant_id=tenant_id,
            actor=DETECTOR,
            event_id=derive_event_id(context, f"{EventType.STEP_LOST}/{DETECTOR}", self.ordinal),
            payload={"previous_attempt": self.attempt, "detected_by": DETECTOR},
        )


async def overdue_attempts(
    reader: Reader, *, grace_seconds: float = GRACE_SECONDS, now: datetime | None = None
) -> list[Overdue]:
    """The first 100, the longest overdue first. Raises StoreUnavailable."""
    moment = now or datetime.now(UTC)
    rows = await reader.fetch(
        _SQL["overdue"], grace_seconds, moment, SWEPT_AT_ONCE, doing="looking for lost attempts"
    )
    return [Overdue(*row) for row in rows]


async def seconds_to_next_overdue(reader: Reader, *, grace_seconds: float = GRACE_SECONDS) -> float | None:
    """Until the next of the attempts that run now would be overdue, negative where one is; None where none
    can be."""
    found: float | None = await reader.fetchval(
        _SQL["next_overdue"], grace_seconds, doing="looking for lost attempts"
    )
    return found


async def mark_lost(store: EventStore, overdue: Sequence[Overdue]) -> list[RecordedEvent]:
    """Records `step.lost` for each. Where anything was recorded of the run since the tables were read, its
    end may be among it: that one is left to the next sweep. Raises StoreUnavailable."""
    recorded: list[RecordedEvent] = []
    for attempt in overdue:
        try:
            recorded += await store.append(
                [attempt.event(store.tenant_id)], expected_version=attempt.run_version
            )
        except (VersionConflict, EventConflict):
            continue
    return recorded

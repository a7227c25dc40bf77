"""Callers: who waits for a commit, and what each of them hears."""

import asyncio

from ledger.contract.events import RecordedEvent
from ledger.errors import StoreUnavailable
from ledger.figures import EmitterMeter
from ledger.logs import get_logger
from ledger.store.append import Group, Outcome

NO_ANSWER = "PostgreSQL did not answer"

log = get_logger("ledger.emitter")


class Pending:
    """A group that waits for its commit. `deadline` is on the monotonic clock."""

    __slots__ = ("deadline", "done", "events", "group", "size_bytes")

    def __init__(self, group: Group, deadline: float, done: asyncio.Future[list[RecordedEvent]]) -> None:
        self.group = group
        self.deadline = deadline
        self.done = done
        self.events = len(group.events)
        self.size_bytes = sum([len(event.data) for event in group.events])


class Callers:
    """`problem` is the last one since the last commit."""

    def __init__(self, meter: EmitterMeter) -> None:
        self._meter = meter
        self.problem = NO_ANSWER

    def committed(self, batch: list[Pending], outcomes: list[Outcome], seconds: float) -> None:
        self.problem = NO_ANSWER
        self._meter.committed(sum([pending.events for pending in batch]), seconds)
        for pending, outcome in zip(batch, outcomes, strict=True):
            settle(pending, outcome)

    def retried(self, problem: str, batch: list[Pending]) -> None:
        self.problem = problem
        self._meter.retried()
        log.warning("emit_retry", problem=problem, groups=len(batch))

    def too_late(self, pending: Pending) -> None:
        settle(pending, unconfirmed(self.problem))


def settle(pending: Pending, outcome: Outcome | Exception) -> None:
    if pending.done.done():
        return
    if isinstance(outcome, Exception):
        pending.done.set_exception(outcome)
    else:
        pending.done.set_result(outcome)


def still_waiting(batch: list[Pending]) -> list[Pending]:
    return [pending for pending in batch if not pending.done.done()]


def unconfirmed(problem: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"No commit was confirmed before the deadline: {problem}",
        fix="The events are recorded once or not at all; emit the same events again to find out",
    )

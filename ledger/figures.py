"""Figures of an emitter: how deep its queue is, how large its commits are, how long they take."""

import statistics
from collections import deque
from dataclasses import dataclass
from typing import Protocol

COMMITS_REMEMBERED = 1_000


@dataclass(frozen=True)
class EmitterFigures:
    """A snapshot. Counts are since the emitter was made; the percentiles are over the last 1,000
    commits, None before the first. `waiting` are events that wait for room in the queue."""

    queue_events: int
    queue_bytes: int
    waiting: int
    events: int
    commits: int
    commit_events_mean: float
    commit_events_max: int
    commit_ms_p50: float | None
    commit_ms_p99: float | None
    retries: int


class EmitterObserver(Protocol):
    """Hears of every commit and retry of an emitter, in its event loop: it must not block."""

    def committed(self, events: int, seconds: float) -> None: ...

    def retried(self) -> None: ...


class EmitterMeter:
    """Counts for one emitter and tells the observers."""

    def __init__(self) -> None:
        self.observers: list[EmitterObserver] = []
        self._events = 0
        self._commits = 0
        self._largest = 0
        self._retries = 0
        self._recent_seconds: deque[float] = deque(maxlen=COMMITS_REMEMBERED)

    def committed(self, events: int, seconds: float) -> None:
        self._events += events
        self._commits += 1
        self._largest = max(self._largest, events)
        self._recent_seconds.append(seconds)
        for observer in self.observers:
            observer.committed(events, seconds)

    def retried(self) -> None:
        self._retries += 1
        for observer in self.observers:
            observer.retried()

    def snapshot(self, *, queue_events: int, queue_bytes: int, waiting: int) -> EmitterFigures:
        return EmitterFigures(
            queue_events=queue_events,
            queue_bytes=queue_bytes,
            waiting=waiting,
            events=self._events,
            commits=self._commits,
            commit_events_mean=self._events / self._commits if self._commits else 0.0,
            commit_events_max=self._largest,
            commit_ms_p50=self._percentile(50),
            commit_ms_p99=self._percentile(99),
            retries=self._retries,
        )

    def _percentile(self, percent: int) -> float | None:
        if len(self._recent_seconds) < 2:
            return self._recent_seconds[0] * 1e3 if self._recent_seconds else None
        return statistics.quantiles(self._recent_seconds, n=100, method="inclusive")[percent - 1] * 1e3

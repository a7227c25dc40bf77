"""Retrying: one commit, tried again by event id until it is confirmed or too late."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from ledger.emitter.callers import Callers, Pending, settle, still_waiting
from ledger.errors import StoreUnavailable
from ledger.store.append import Outcome
from ledger.store.event_store import EventStore

PAUSE_SECONDS_MIN = 0.05
PAUSE_SECONDS_MAX = 2.0


class _Call(NamedTuple):
    """A call of the store, and the end of everybody's patience with it."""

    timeout: asyncio.Timeout
    deadline: float


class Retrying:
    """`fail_late` tells everyone whose deadline is over, those of the batch among them."""

    def __init__(self, store: EventStore, callers: Callers, fail_late: Callable[[], None]) -> None:
        self._store = store
        self._callers = callers
        self._fail_late = fail_late
        self._under_way: _Call | None = None

    async def record(self, batch: list[Pending]) -> None:
        pause_seconds = PAUSE_SECONDS_MIN
        while batch:
            begun = time.perf_counter()
            try:
                outcomes = await self._append(batch)
            except (StoreUnavailable, TimeoutError) as error:
                if isinstance(error, StoreUnavailable):
                    self._callers.problem = error.problem
                self._fail_late()
                batch = still_waiting(batch)
                if batch:
                    self._callers.retried(self._callers.problem, batch)
                    await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                    pause_seconds = min(pause_seconds * 2, PAUSE_SECONDS_MAX)
            except Exception as error:
                await self._record_apart(batch, error)
                return
            else:
                self._callers.committed(batch, outcomes, time.perf_counter() - begun)
                return

    @property
    def deadline(self) -> float | None:
        """Of the call under way; None where there is none, or it was told to end."""
        call = self._under_way
        return None if call is None or call.timeout.expired() else call.deadline

    def end_late(self, now: float) -> None:
        call = self._under_way
        if call is not None and now >= call.deadline and not call.timeout.expired():
            call.timeout.reschedule(now)

    async def _append(self, batch: list[Pending]) -> list[Outcome]:
        """One call of the store. Nobody waits any longer than the last deadline, so nothing in the store
        holds up the next."""
        try:
            async with asyncio.timeout(None) as timeout:
                self._under_way = _Call(timeout, batch[-1].deadline)
                return await self._store.append_groups([pending.group for pending in batch])
        finally:
            self._under_way = None

    async def _record_apart(self, batch: list[Pending], error: Exception) -> None:
        """PostgreSQL refused the batch for good: what it refuses of one group is that caller's alone."""
        if len(batch) == 1:
            settle(batch[0], error)
            return
        for pending in batch:
            await self.record([pending])

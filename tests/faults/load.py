"""Load: writers that emit as fast as they are acknowledged, a subscriber that tails, and what must be
true of them afterwards, whatever happened meanwhile."""

import asyncio
from types import TracebackType
from typing import Self
from uuid import UUID

from ledger import RecordedEvent, Tenant
from tests.support.events import assert_gapless, everything, fact

SECONDS_MAX = 90.0


class Load:
    """On one tenant, through as many handles of it (open ledgers) as are given."""

    def __init__(self, *tenants: Tenant, writers: int = 12) -> None:
        self.acknowledged: list[RecordedEvent] = []
        self.sent: set[UUID] = set()
        self.seen: list[RecordedEvent] = []
        self._tenants = tenants
        self._writers = writers
        self._writing: list[asyncio.Task[None]] = []
        self._tailing: asyncio.Task[None]
        self._stopped = False

    async def __aenter__(self) -> Self:
        self._tailing = asyncio.create_task(self._tail())
        self._writing = [asyncio.create_task(self._write(number)) for number in range(self._writers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in (*self._writing, self._tailing):
            task.cancel()
        await asyncio.gather(*self._writing, self._tailing, return_exceptions=True)

    async def more(self, count: int = 60) -> None:
        """Returns when `count` more events are acknowledged; a writer that failed, fails here."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(SECONDS_MAX):
            while len(self.acknowledged) < wanted:
                for task in self._writing:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def stop(self) -> list[RecordedEvent]:
        """Ends the writers, each with its last acknowledgement; the log, once the subscriber has it all."""
        self._stopped = True
        async with asyncio.timeout(SECONDS_MAX):
            await asyncio.gather(*self._writing)
            stored = await everything(self._tenants[0])
            while len(self.seen) < len(stored) and not self._tailing.done():
                await asyncio.sleep(0.02)
        return stored

    async def stop_and_check(self) -> list[RecordedEvent]:
        stored = await self.stop()
        assert_gapless(stored)
        assert self.seen == stored, "the subscriber missed, repeated or reordered something"
        by_position = {event.position: event for event in stored}
        assert all(by_position[event.position] == event for event in self.acknowledged)
        assert len({event.position for event in self.acknowledged}) == len(self.acknowledged)
        assert {event.event_id for event in stored} == self.sent
        return stored

    async def _write(self, number: int) -> None:
        tenant = self._tenants[number % len(self._tenants)]
        turn = 0
        while not self._stopped:
            turn += 1
            events = [fact(tenant, f"run-{number % 5}", n=turn) for _ in range(1 + 2 * (number % 3 == 0))]
            self.sent |= {event.event_id for event in events}
            self.acknowledged += await tenant.emitter.emit_many(events)

    async def _tail(self) -> None:
        async for event in self._tenants[0].store.subscribe(batch=50):
            self.seen.append(event)

"""The log as upkeep reads it: positions, types and payloads, page by page."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from ledger.errors import StoreError
from ledger.store.event_store import EventStore
from ledger.store.reader import Reader
from ledger.store.statements import load_statements

PAGE_EVENTS = 500  # at most 32 MiB of payloads

_SQL = load_statements("ledger.upkeep", "queries.sql")


class Payload(NamedTuple):
    """`data` is None where the event was erased."""

    position: int
    event_type: str
    data: bytes | None


class Log:
    """A tenant's events. What cannot be read raises: nobody may take a part of the roots for all of them."""

    def __init__(self, store: EventStore, reader: Reader) -> None:
        self._store = store
        self._reader = reader

    async def head(self) -> int:
        return await self._store.head()

    async def pages(self, after: int, upto: int) -> AsyncIterator[Sequence[Payload]]:
        """Every event at a position after `after` and up to `upto`. Raises StoreError for a gap."""
        while after < upto:
            rows = await self._reader.fetch(_SQL["payloads"], after, upto, PAGE_EVENTS, doing="reading")
            page = [Payload(*row) for row in rows]
            require_every_position(page, after, upto)
            yield page
            after = page[-1].position

    async def runs_at(self, positions: Sequence[int], limit: int) -> list[str]:
        """The streams of these events, at most `limit` of them."""
        rows = await self._reader.fetch(_SQL["runs_at"], list(positions), limit, doing="reading events")
        return [row[0] for row in rows]


def require_every_position(page: Sequence[Payload], after: int, upto: int) -> None:
    expected = list(range(after + 1, min(after + PAGE_EVENTS, upto) + 1))
    if [payload.position for payload in page] != expected:
        raise StoreError(
            f"The log does not give every event from position {expected[0]} to {expected[-1]}",
            found=f"{len(page)} events",
            fix="Nothing was deleted. Run `daicho doctor`; positions have no gaps in a log that is whole",
        )

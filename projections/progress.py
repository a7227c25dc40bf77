"""Progress: how far a tenant's tables have come, for those who wait to read their own writes."""

import time

from ledger.errors import ProjectionBehind, ProjectionStopped
from ledger.store.reader import Reader
from ledger.store.statements import load_statements
from ledger.store.wakeup import Announcer, projected_topic
from projections.core import CORE
from projections.projector import Projector

_SQL = load_statements("projections", "queries.sql")
POLL_SECONDS = 0.05


class Progress:
    """Wakes as soon as the projector of this process has moved, or one elsewhere has announced that it
    did; and it looks by itself."""

    def __init__(self, reader: Reader, projector: Projector, announcer: Announcer) -> None:
        self._reader = reader
        self._projector = projector
        self._announcer = announcer

    async def position(self) -> int:
        """The checkpoint: every event up to it is in the tables; 0 where there is none."""
        position: int | None = await self._reader.fetchval(
            _SQL["checkpoint"], CORE.name, doing="reading the checkpoint"
        )
        return position or 0

    async def wait(self, position: int, timeout_seconds: float) -> None:
        """Raises ProjectionStopped where the projector here gave up, ProjectionBehind when late."""
        topic = projected_topic(self._reader.database.name)
        stop_hearing = self._announcer.hear(topic, self._projector.advanced.notify)
        try:
            await self._wait(position, timeout_seconds)
        finally:
            stop_hearing()

    async def _wait(self, position: int, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            seen = self._projector.advanced.generation
            reached = await self.position()
            if reached >= position:
                return
            if stopped := self._projector.stopped:
                raise ProjectionStopped(
                    f"The projection stopped at position {stopped.position}: {stopped.reason}",
                    fix="`daicho verify` compares the tables with the events",
                )
            if time.monotonic() >= deadline:
                raise ProjectionBehind(
                    f"The tables did not reach position {position} within {timeout_seconds:g} s",
                    found=f"position {reached}",
                    fix="See that a projector runs: Settings.projection = 'background', or `daicho follow`",
                )
            await self._projector.advanced.wait(seen, POLL_SECONDS)

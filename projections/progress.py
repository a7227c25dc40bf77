"""Progress: how far a tenant's tables have come, for those who wait to read their own writes."""

import time
from collections.abc import Mapping

from ledger.errors import ProjectionBehind, ProjectionStopped
from ledger.store.reader import Reader
from ledger.store.statements import load_statements
from ledger.store.wakeup import Announcer, Wakeup, projected_topic
from projections.projector import Projector, Stopped

_SQL = load_statements("projections", "queries.sql")
POLL_SECONDS = 0.05


class Progress:
    """Whoever waits wakes as soon as the projector of this process has moved, or one elsewhere has announced
    that it did; and looks by itself."""

    def __init__(self, reader: Reader, projectors: Mapping[str, Projector], announcer: Announcer) -> None:
        """`projectors` are this process's, by the projection's name; there need be none."""
        self._reader = reader
        self._projectors = projectors
        self._announcer = announcer

    async def position(self, projection: str) -> int:
        """The checkpoint: every event up to it is in the tables; 0 where there is none."""
        position: int | None = await self._reader.fetchval(
            _SQL["checkpoint"], projection, doing="reading the checkpoint"
        )
        return position or 0

    async def wait(self, position: int, projection: str, timeout_seconds: float) -> None:
        """Raises ProjectionStopped where the projector gave up, here or elsewhere; ProjectionBehind
        when late."""
        projector = self._projectors.get(projection)
        moved = Wakeup() if projector is None else projector.advanced
        topic = projected_topic(self._reader.database.name)
        stop_hearing = self._announcer.hear(topic, moved.notify)
        deadline = time.monotonic() + timeout_seconds
        try:
            while True:
                seen = moved.generation
                reached, stopped = await self._look(projection, projector)
                if reached >= position:
                    return
                if stopped is not None:
                    raise ProjectionStopped(
                        f"The projection stopped at position {stopped.position}: {stopped.reason}",
                        fix="`daicho status` shows where, `daicho verify` what differs",
                    )
                if time.monotonic() >= deadline:
                    raise _behind(position, reached, timeout_seconds)
                await moved.wait(seen, POLL_SECONDS)
        finally:
            stop_hearing()

    async def _look(self, projection: str, projector: Projector | None) -> tuple[int, Stopped | None]:
        statement = _SQL["checkpoint_and_stop"]
        rows = await self._reader.fetch(statement, projection, doing="reading the checkpoint")
        reached: int = rows[0]["position"] if rows else 0
        if projector is not None:
            return reached, projector.stopped  # it may be about to try again what another gave up
        if not rows or rows[0]["stopped_position"] is None:
            return reached, None
        return reached, Stopped(rows[0]["stopped_position"], rows[0]["stopped_reason"])


def _behind(position: int, reached: int, timeout_seconds: float) -> ProjectionBehind:
    return ProjectionBehind(
        f"The tables did not reach position {position} within {timeout_seconds:g} s",
        found=f"position {reached}",
        fix="See that a projector runs: Settings.projection = 'background', or `daicho follow`",
    )

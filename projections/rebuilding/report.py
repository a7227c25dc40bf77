"""RebuildReport: what a rebuild did, and the fact that records it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ledger.contract.events import Event, EventType
from ledger.contract.names import TENANT_STREAM
from projections.rebuilding.filling import Digests

Progress = Callable[[str, int, int], None]
"""Called with the phase, the events folded in it and, as far as it is known, all that are to be folded.
The phases: folding, building indexes, catching up, swapping."""


@dataclass(frozen=True)
class RebuildReport:
    """`digests` maps each rebuilt table to the digest of its rows (projections/digests.py) as of `position`;
    where one run was repaired, of this run's rows. `swap_ms` is how long the live tables were locked."""

    tenant_id: str
    projection: str
    position: int
    events: int
    seconds: float
    rows: dict[str, int]
    digests: dict[str, str]
    swap_ms: float = 0.0
    workers: int = 0
    run_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def rows_and_digests(digests: Digests) -> dict[str, dict[str, Any]]:
    return {
        "rows": {row_type.TABLE: digest.rows for row_type, digest in digests.items()},
        "digests": {row_type.TABLE: digest.hexdigest() for row_type, digest in digests.items()},
    }


def fact(report: RebuildReport, actor: str, reason: str | None) -> Event:
    given = {"run_id": report.run_id, "reason": reason}
    return Event(
        event_type=EventType.PROJECTION_REBUILT,
        run_id=TENANT_STREAM,
        tenant_id=report.tenant_id,
        actor=actor,
        payload={
            "projection": report.projection,
            "position": report.position,
            "events": report.events,
            "seconds": report.seconds,
            "digests": report.digests,
            **{name: value for name, value in given.items() if value is not None},
        },
    )

"""Standing: how far each projection of a tenant has come, and what keeps it."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from ledger.store.statements import load_statements
from ledger.tenant import Tenant
from projections.definition import Projection
from projections.installed import Projections
from projections.projector import show_event

_SQL = load_statements("projections", "queries.sql")

State = Literal["current", "behind", "stopped", "outdated", "not_made"]


@dataclass(frozen=True)
class Standing:
    """`lag_seconds` is the age of the oldest event that is not in the tables yet.

    current   every event is in the tables
    behind    `lag` events are not; whether somebody is about to change that, the leader tells
    stopped   at the event at `stopped_position`, for `stopped_reason`; `fix` shows the event
    outdated  another version of the projection filled the tables; `fix` folds them again
    not_made  it was never followed or rebuilt for this tenant
    """

    projection: str
    state: State
    position: int
    lag: int
    lag_seconds: float
    version: int | None
    expected_version: int
    stopped_position: int | None = None
    stopped_reason: str | None = None
    stopped_at: datetime | None = None
    fix: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def standings(tenant: Tenant, projections: Projections) -> list[Standing]:
    """One per projection, in their order. Raises StoreUnavailable."""
    names = [projection.name for projection in projections]
    rows = await tenant.reader.fetch(_SQL["standings"], names, doing="reading checkpoints")
    found = {row["name"]: row for row in rows}
    return [_standing(tenant.tenant_id, projection, found[projection.name]) for projection in projections]


def _standing(tenant_id: str, projection: Projection[Any], row: Any) -> Standing:
    lag = row["head"] - (row["position"] or 0)
    state, fix = _state(tenant_id, projection, row, lag)
    return Standing(
        projection=projection.name,
        state=state,
        position=row["position"] or 0,
        lag=lag,
        lag_seconds=round(row["lag_seconds"] or 0.0, 3),
        version=row["version"],
        expected_version=projection.version,
        stopped_position=row["stopped_position"],
        stopped_reason=row["stopped_reason"],
        stopped_at=row["stopped_at"],
        fix=fix,
    )


def _state(tenant_id: str, projection: Projection[Any], row: Any, lag: int) -> tuple[State, str | None]:
    anew = f"daicho rebuild -t {tenant_id} --projection {projection.name}"
    if row["position"] is None:
        return "not_made", f"daicho follow -t {tenant_id}"
    if row["version"] != projection.version and not (row["version"] is None and row["position"] == 0):
        return "outdated", anew
    if row["stopped_position"] is not None:
        return "stopped", show_event(tenant_id, row["stopped_position"])
    return ("behind", None) if lag else ("current", None)

"""Listings from the tables: the newest version of a path, what bodies take. Runs: run_listing.py."""

from dataclasses import asdict, dataclass
from typing import Any

from ledger.contract.artifact_ref import ArtifactPath
from ledger.store.statements import load_statements
from ledger.tenant import Tenant
from projections.rows import ArtifactRow, columns, from_record
from projections.table_sql import qualified

_SQL = load_statements("projections", "queries.sql")


async def newest_artifact(tenant: Tenant, path: str) -> ArtifactRow | None:
    """The last version that was recorded at an artifact path by the run that the path names."""
    try:
        run_id = ArtifactPath.parse(path).run_id
    except ValueError:
        return None
    rows = await tenant.reader.fetch(
        f"SELECT {', '.join(columns(ArtifactRow))} FROM {qualified(ArtifactRow)} "
        "WHERE run_id = $1 AND path = $2 ORDER BY first_position DESC LIMIT 1",
        run_id,
        path,
        doing="finding an artifact",
    )
    return from_record(ArtifactRow, rows[0]) if rows else None


@dataclass(frozen=True)
class BlobUsage:
    """What a tenant's artifacts take: `stored_bytes` once per distinct body, `recorded_bytes` once per
    recorded version of a path."""

    bodies: int
    stored_bytes: int
    recorded_bytes: int
    recorded: int

    @property
    def dedup_ratio(self) -> float:
        """How often a stored byte is used; 1.0 where nothing is."""
        return self.recorded_bytes / self.stored_bytes if self.stored_bytes else 1.0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "dedup_ratio": round(self.dedup_ratio, 3)}


async def blob_usage(tenant: Tenant) -> BlobUsage:
    """As the tables have it, not the store: what no event refers to is not counted."""
    [row] = await tenant.reader.fetch(_SQL["blob_usage"], doing="counting bodies")
    return BlobUsage(*row)

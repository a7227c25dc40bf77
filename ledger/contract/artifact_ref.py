"""ArtifactRef: what travels instead of a body: a path and a digest."""

from pydantic import BaseModel, ConfigDict, Field
from ledger.contract.times import UtcTime

ROOT = "storage"


class ArtifactRef(BaseModel):
    """A reference to immutable bytes: `storage/{tenant_id}/{run_id}/{step}/{name}` says where they
    came from, `digest` (sha256, 64 lower-case hex digits, FIPS 180-4) says what they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    path: str = Field(min_length=1, max_length=1024)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    content_type: str = Field(default="application/json", min_length=1, max_length=255)
    size_bytes: int = Field(ge=0, lt=2**63)
    created_at: UtcTime

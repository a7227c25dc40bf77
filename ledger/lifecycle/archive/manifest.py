"""What an archive says of itself."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT = "daicho.tenant"
FORMAT_VERSION = 1


class Manifest(BaseModel):
    """`former_ids` are the ids this tenant had before: paths of its artifacts may name any of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["daicho.tenant"] = "daicho.tenant"
    format_version: Literal[1] = 1
    daicho_version: str
    schema_revision: str
    tenant_id: str
    name: str
    former_ids: tuple[str, ...] = ()
    exported_at: datetime
    exported_by: str
    head_position: int = Field(ge=0)


class TableCheckpoint(BaseModel):
    """Digests (projections/digests.py) of a projection's tables, as they were at `position`. `version` is
    the projection's: another one makes other tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    projection: str
    version: int
    position: int = Field(ge=0)
    rows: dict[str, int]
    digests: dict[str, str]


class Checkpoints(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    projections: tuple[TableCheckpoint, ...] = ()

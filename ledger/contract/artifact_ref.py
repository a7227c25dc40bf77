"""ArtifactRef: what travels instead of a body: a path and a digest."""

from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ledger.contract.names import is_reserved, name_problem, tenant_id_problem
from ledger.contract.times import AwareTime

ROOT = "storage"
PATH_BYTES_MAX = 1024


def _of_bounded_size(path: str) -> str:
    # Bytes, not characters: the path is part of an index key.
    if len(path) > PATH_BYTES_MAX or (not path.isascii() and len(path.encode()) > PATH_BYTES_MAX):
        raise ValueError(f"a path is at most {PATH_BYTES_MAX} bytes of UTF-8")
    return path


class ArtifactRef(BaseModel):
    """A reference to immutable bytes: `storage/{tenant_id}/{run_id}/{step}/{name}` says where they
    came from, `digest` (sha256, 64 lower-case hex digits, FIPS 180-4) says what they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    path: Annotated[str, Field(min_length=1), AfterValidator(_of_bounded_size)]
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    content_type: str = Field(
        default="application/json", min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"
    )
    size_bytes: int = Field(ge=0, lt=2**63)
    created_at: AwareTime


class ArtifactPath(NamedTuple):
    """The parts of a path. Nothing of it names a place in the blob store: bodies lie under their digest."""

    tenant_id: str
    run_id: str
    step_id: str
    name: str

    def __str__(self) -> str:
        return f"{ROOT}/{self.tenant_id}/{self.run_id}/{self.step_id}/{self.name}"

    @classmethod
    def parse(cls, path: str) -> "ArtifactPath":
        """Raises ValueError, saying what is wrong."""
        if not isinstance(path, str):
            raise ValueError(f"a path is text, not {type(path).__name__}")
        parts = path.split("/")
        if len(parts) != 5 or parts[0] != ROOT:
            raise ValueError(f"{ROOT}/{{tenant_id}}/{{run_id}}/{{step}}/{{name}} has five parts")
        parsed = cls(*parts[1:])
        if problem := tenant_id_problem(parsed.tenant_id):
            raise ValueError(problem)
        for part in parsed[1:]:
            if problem := name_problem(part):
                raise ValueError(problem)
        if is_reserved(parsed.run_id):
            raise ValueError("a run id that begins with '$' is reserved")
        return parsed

"""What upkeep found and did. Their JSON is stable: fields are added, never renamed."""

from typing import Literal

from pydantic import BaseModel, computed_field

BAD_LISTED_MAX = 10_000
ORPHANS_LISTED_MAX = 1_000


class CollectionReport(BaseModel):
    """`position` is where the log stood at the last mark. `young` blobs were not mentioned and not old
    enough; of `garbage`, `deleted` are gone (a dry run deletes none), `retained` ones are locked (object
    lock), the others were put or recorded in time."""

    tenant_id: str
    grace_seconds: float
    dry_run: bool
    position: int = 0
    mentioned: int = 0
    listed: int = 0
    listed_bytes: int = 0
    young: int = 0
    garbage: int = 0
    garbage_bytes: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    retained: int = 0
    taken_over: int = 0
    unfinished_puts_cleared: int = 0
    seconds: float = 0.0
    finished: bool = False


Problem = Literal["missing", "corrupt", "wrong_size"]


class BadBlob(BaseModel):
    """A blob that events refer to and that is not as they say. `runs` are the streams of those events, at
    most 100 of them; `positions` the first of the events."""

    digest: str
    problem: Problem
    found: str
    runs: list[str]
    positions: list[int]


class CheckReport(BaseModel):
    """`referenced` digests up to `position`, each there and as events say: where `ok`. `hashed` of them were
    read again. `bad` lists the first 10,000, `bad_count` counts all. Orphans are blobs that no event
    mentions: no damage; `orphans` lists the first 1,000."""

    tenant_id: str
    store: str
    quick: bool
    position: int
    referenced: int = 0
    checked: int = 0
    hashed: int = 0
    hashed_bytes: int = 0
    listed: int = 0
    listed_bytes: int = 0
    bad_count: int = 0
    bad: list[BadBlob] = []
    orphan_count: int = 0
    orphan_bytes: int = 0
    orphans: list[str] = []
    seconds: float = 0.0
    finished: bool = False

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        return self.finished and self.bad_count == 0

"""VerifyReport: what a verification found."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

DIFFERENCES_MAX = 100

Progress = Callable[[str, int, int], None]
"""Called with the phase (comparing), the events folded and all that are to be folded."""


@dataclass(frozen=True)
class Difference:
    """`kind`: a row that is missing from the table, surplus in it, or differs in `columns`; or a
    checkpoint that lies ahead of the head. Where the checkpoint is missing, it compares at the head."""

    table: str
    key: tuple[Any, ...]
    kind: Literal["missing", "surplus", "differs", "ahead_of_head"]
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = f" in {', '.join(self.columns)}" if self.columns else ""
        return f"{self.table} {'/'.join(map(str, self.key))}: {self.kind.replace('_', ' ')}{named}"


@dataclass(frozen=True)
class TableReport:
    rows: int
    live_digest: str
    folded_digest: str

    @property
    def equal(self) -> bool:
        return self.live_digest == self.folded_digest


@dataclass(frozen=True)
class VerifyReport:
    """`differences` lists the first 100; `difference_count` counts them all. `awaiting_erasure` names
    the runs that could not be compared: a payload of theirs is erased and the tables, being behind, hold
    what was folded from it. They are folded again when the projector comes to the erasure's record.
    `sampled` is the share of the log that was compared: rows and digests are of that share."""

    tenant_id: str
    projection: str
    position: int
    events: int
    seconds: float
    tables: dict[str, TableReport]
    differences: list[Difference]
    difference_count: int
    awaiting_erasure: list[str]
    sampled: float = 1.0

    @property
    def ok(self) -> bool:
        return self.difference_count == 0 and all(table.equal for table in self.tables.values())

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}

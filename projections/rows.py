"""Rows: what the projection tables hold, one class per table, one field per column.

The classes are the single definition: SQLAlchemy tables, SQL statements and digests derive from
them, and a test holds the migration against them. A field of type `Json` holds a JSON value.
Projections of other packages have row classes of their own, which derive the same (definition.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, ClassVar, NewType, get_type_hints

import orjson

Json = NewType("Json", object)  # a JSON value in Python's own types


class Row:
    """`KEY` names the columns that tell one row from another; the first is always the stream."""

    __slots__ = ()
    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]


@dataclass(slots=True, eq=False)
class RunRow(Row):
    """Totals are over the run's attempts. `input_tokens`, `output_tokens`, `costs` and `queue_ms` are
    None where no attempt said anything of them; `costs` maps currencies to exact decimal strings."""

    TABLE: ClassVar[str] = "runs"
    KEY: ClassVar[tuple[str, ...]] = ("run_id",)

    run_id: str
    status: str = "not_started"
    pipeline: str | None = None
    prompt_pack_id: str | None = None
    prompt_pack_version: str | None = None
    prompt_pack_digest: str | None = None
    parent_run_id: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: int | None = None
    active_ms: int = 0
    queue_ms: int | None = None
    retry_wait_ms: int = 0
    current_step: str | None = None
    failing_step: str | None = None
    error: Json | None = None
    error_category: str | None = None
    error_message: str | None = None
    steps: int = 0
    attempts: int = 0
    retries: int = 0
    failures: int = 0
    retryable_failures: int = 0
    non_retryable_failures: int = 0
    validation_failures: int = 0
    lost: int = 0
    repairs: int = 0
    artifacts: int = 0
    anomalies: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    costs: Json | None = None
    inputs: Json | None = None
    outputs: Json | None = None
    summary: Json | None = None
    config: Json | None = None
    labels: Json | None = None
    first_position: int = 0
    last_position: int = 0
    last_version: int = 0
    first_recorded_at: datetime | None = None
    last_recorded_at: datetime | None = None


@dataclass(slots=True, eq=False)
class StepRow(Row):
    """A step stands where its last attempt stands; `error` and what goes with it is its last failure's,
    also after a later success. `duration_ms` runs from the first start to the last end: `active_ms` of it
    attempts ran, `queue_ms` they waited for a worker, `retry_wait_ms` for being tried again."""

    TABLE: ClassVar[str] = "steps"
    KEY: ClassVar[tuple[str, ...]] = ("run_id", "step_id")

    run_id: str
    step_id: str
    status: str = "not_started"
    attempts: int = 0
    retries: int = 0
    failures: int = 0
    lost: int = 0
    repairs: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: int | None = None
    active_ms: int = 0
    queue_ms: int | None = None
    retry_wait_ms: int = 0
    error: Json | None = None
    error_category: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    outputs: Json | None = None
    validation_reports: Json | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    costs: Json | None = None
    run_first_position: int = 0
    first_position: int = 0
    last_position: int = 0


@dataclass(slots=True, eq=False)
class AttemptRow(Row):
    """`ordinal` counts a step's attempts 1, 2, 3 …; `attempt` is the number the engine gave, which
    it may reset. `scheduled_at` is when the engine offered it to workers. `lost_by` is who or what noticed
    that it was lost. `cost` is an exact decimal in `currency`."""

    TABLE: ClassVar[str] = "attempts"
    KEY: ClassVar[tuple[str, ...]] = ("run_id", "step_id", "ordinal")

    run_id: str
    step_id: str
    ordinal: int
    attempt: int
    status: str = "running"
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: int | None = None
    queue_ms: int | None = None
    retry_wait_ms: int | None = None
    error: Json | None = None
    error_category: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    will_retry: bool | None = None
    retry_delay_ms: float | None = None
    timeout_seconds: float | None = None
    lost_by: str | None = None
    last_seen_at: datetime | None = None
    inputs: Json | None = None
    inputs_read: Json | None = None
    outputs: Json | None = None
    validation_reports: Json | None = None
    usage: Json | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: str | None = None
    currency: str | None = None
    model: str | None = None
    prompt: Json | None = None
    engine: Json | None = None
    worker: str | None = None
    actor: str | None = None
    traceparent: str | None = None
    started_position: int | None = None
    ended_position: int | None = None


@dataclass(slots=True, eq=False)
class ArtifactRow(Row):
    """One version of one path. `version` counts the path's distinct digests in order. The producer is the
    step that stored it, gave it out or made it by repair; None for what came from outside. `consumers` are
    the steps that had it as an input, in order. A repair joins two rows: the one `repaired_into` the
    other's digest, the other `repaired_from` the one's."""

    TABLE: ClassVar[str] = "artifacts"
    KEY: ClassVar[tuple[str, ...]] = ("run_id", "path", "digest")

    run_id: str
    path: str
    digest: str
    version: int
    origin: str
    name: str
    content_type: str | None
    size_bytes: int | None
    created_at: datetime | None
    producer_step_id: str | None
    producer_attempt: int | None
    consumers: Json | None = None
    repaired_from: str | None = None
    repaired_into: str | None = None
    repair_kind: str | None = None
    first_position: int = 0


@dataclass(slots=True, eq=False)
class AuditRow(Row):
    """One accountable act: who did what, to what, when and why."""

    TABLE: ClassVar[str] = "audit_logs"
    KEY: ClassVar[tuple[str, ...]] = ("run_id", "position")

    run_id: str
    position: int
    action: str
    actor: str | None
    subject: str | None
    reason: str | None
    step_id: str | None
    details: Json | None
    occurred_at: datetime
    recorded_at: datetime


@dataclass(slots=True, eq=False)
class AnomalyRow(Row):
    """A fact that is recorded as it came and does not fit what was recorded before it."""

    TABLE: ClassVar[str] = "anomalies"
    KEY: ClassVar[tuple[str, ...]] = ("run_id", "position", "code")

    run_id: str
    position: int
    code: str
    message: str
    step_id: str | None
    attempt: int | None
    recorded_at: datetime


@dataclass(slots=True, eq=False)
class PromptRow(Row):
    """One prompt of one version of a prompt pack. `digest` is that of the version's prompts together;
    `retired_at` is the pack's."""

    TABLE: ClassVar[str] = "prompts"
    KEY: ClassVar[tuple[str, ...]] = ("run_id", "version", "name")

    run_id: str
    version: int
    name: str
    pack_id: str
    template: str
    digest: str | None
    created_at: datetime
    created_by: str | None
    retired_at: datetime | None
    first_position: int


STATE_ROW_TYPES: tuple[type[Row], ...] = (RunRow, StepRow, AttemptRow, ArtifactRow, PromptRow)
"""What the fold reads as well as writes; the others it only adds to."""

ROW_TYPES: tuple[type[Row], ...] = (*STATE_ROW_TYPES, AuditRow, AnomalyRow)


@dataclass(frozen=True, slots=True)
class _Shape:
    columns: dict[str, Any]
    json_places: tuple[int, ...]
    values: Callable[[Any], tuple[Any, ...]]
    """Of a row, in the order of the columns."""
    key: Callable[[Any], tuple[Any, ...]]


_SHAPES: dict[type[Row], _Shape] = {}  # of row classes, which live as long as the process


def columns(row_type: type[Row]) -> dict[str, Any]:
    """The columns' names in order, with the annotations of their types."""
    return _shape(row_type).columns


def kinds_of(annotation: Any) -> frozenset[Any]:
    """The types that a column's annotation allows, NoneType among them where it may be NULL."""
    return frozenset(getattr(annotation, "__args__", (annotation,)))


def _shape(row_type: type[Row]) -> _Shape:
    shape = _SHAPES.get(row_type)
    if shape is None:
        annotations = get_type_hints(row_type)
        named = {field.name: annotations[field.name] for field in fields(row_type)}  # type: ignore[arg-type]
        of_json = [place for place, kind in enumerate(named.values()) if Json in kinds_of(kind)]
        shape = _SHAPES[row_type] = _Shape(
            named, tuple(of_json), _values_of(tuple(named)), _values_of(row_type.KEY)
        )
    return shape


def _values_of(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda row: (get(row),)


def key_of(row: Row) -> tuple[Any, ...]:
    return _shape(type(row)).key(row)


def to_record(row: Row) -> tuple[Any, ...]:
    """The row as the database takes it: JSON values as their canonical text."""
    return tuple(column[0] for column in to_columns([row]))


def to_columns(rows: Sequence[Row]) -> list[Sequence[Any]]:
    """The values of rows of one class, at least one, as the database takes them: a list per column."""
    shape = _shape(type(rows[0]))
    found: list[Sequence[Any]] = list(zip(*map(shape.values, rows), strict=True))
    for place in shape.json_places:
        found[place] = list(map(json_text, found[place]))
    return found


def from_record(row_type: type[Row], record: Any) -> Any:
    """The row from the database's values, in the order of its columns."""
    values = list(record)
    for place in _shape(row_type).json_places:
        if values[place] is not None:
            values[place] = orjson.loads(values[place])
    return row_type(*values)


def json_text(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()

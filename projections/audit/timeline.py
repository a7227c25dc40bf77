"""Timeline: what happened in a run, event by event, with what the fold finds odd about each, and attempt
by attempt, with what each waited for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from ledger.contract.events import EventType, RecordedEvent, decoded_payloads
from projections.audit.answers import Answer
from projections.audit.erasures import erasure_of
from projections.audit.summaries import Payload, outputs_summary, start_summary, stored_summary, summary_of
from projections.audit.ticks import EPOCH, TICK, TICKS_PER_MS, as_two_ticks, two_ticks
from projections.fold.runs import ENDED
from projections.fold.timeline import AttemptSpan, TimelineFold, prompt_digest, prompt_text
from projections.rows import AttemptRow, RunRow

Erasures = Mapping[int, RecordedEvent]
"""The records of erasures, by the erased event's position."""

NO_ERASURES: Erasures = MappingProxyType({})

_AT_ONCE = 250
"""Events folded while what was decoded of them is still in the processor's caches."""

_TROUBLES = frozenset(
    {EventType.STEP_FAILED, EventType.STEP_LOST, EventType.RUN_FAILED, EventType.RUN_CANCELLED}
)


@dataclass(slots=True)
class Anomaly:
    code: str
    message: str


# Entries and attempts are dataclasses inside a pydantic answer: there is one for every event of a run, and
# a model for each would cost as much as reading and folding them.
@dataclass(slots=True)
class TimelineEntry:
    """One event. `since_start_ms` is the time from the run's first event. On the start of an attempt stand
    `model`, `prompt`, the run's pack, and `waited_ms`, the time it waited to be tried again and for a worker;
    on the end of an attempt or a run `duration_ms`; on failures `error_category` and `retryable`; on events
    whose payload was erased `erased_at`, `_by` and `_reason`."""

    position: int
    version: int
    event_type: str
    timestamp: datetime
    recorded_at: datetime
    since_start_ms: int | None
    step_id: str | None
    attempt: int | None
    actor: str | None
    summary: str
    duration_ms: int | None = None
    waited_ms: int | None = None
    model: str | None = None
    prompt: str | None = None
    prompt_digest: str | None = None
    prompt_pack_id: str | None = None
    prompt_pack_version: str | None = None
    prompt_pack_digest: str | None = None
    error_category: str | None = None
    retryable: bool | None = None
    erased: bool = False
    erased_at: datetime | None = None
    erased_by: str | None = None
    erased_reason: str | None = None
    anomalies: tuple[Anomaly, ...] = ()

    @property
    def is_trouble(self) -> bool:
        """A failure, a loss, a cancellation, or a fact that does not fit."""
        return self.event_type in _TROUBLES or bool(self.anomalies)

    def is_wanted(self, step: str | None, after: int, errors: bool) -> bool:
        return (
            (step is None or self.step_id == step)
            and self.position > after
            and (not errors or self.is_trouble)
        )


class Timeline(Answer):
    tenant_id: str
    run_id: str
    status: str
    pipeline: str | None
    prompt_pack_id: str | None
    prompt_pack_version: str | None
    prompt_pack_digest: str | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: int | None
    attempts: list[AttemptSpan]
    entries: list[TimelineEntry]

    def only(self, *, step: str | None = None, after: int = 0, errors: bool = False) -> "Timeline":
        """The same run with fewer entries, and the attempts that one of them begins or ends: of one step,
        after a position, or those in trouble (failed, lost, cancelled or odd)."""
        if step is None and after == 0 and not errors:
            return self
        entries = [entry for entry in self.entries if entry.is_wanted(step, after, errors)]
        kept = {entry.position for entry in entries}
        attempts = [span for span in self.attempts if kept & {span.started_position, span.ended_position}]
        return self.model_copy(update={"entries": entries, "attempts": attempts})


class TimelineBuilder:
    """Takes a run's events in order, gives an entry for each. Pure: the same events, the same entries."""

    def __init__(self, tenant_id: str, run_id: str) -> None:
        self.tenant_id = tenant_id
        self.folded = TimelineFold(run_id)
        self._first: int | None = None

    @property
    def has_ended(self) -> bool:
        return self.folded.status in ENDED

    def add(self, told: Sequence[Sequence[Any]], erasures: Erasures = NO_ERASURES) -> list[TimelineEntry]:
        """Events as `read_for_timeline` reads them; the records of the erasures of those that are erased,
        by the erased position."""
        entries: list[TimelineEntry] = []
        for begin in range(0, len(told), _AT_ONCE):
            entries += self._add(told[begin : begin + _AT_ONCE], erasures)
        return entries

    def _add(self, told: Sequence[Sequence[Any]], erasures: Erasures) -> list[TimelineEntry]:
        columns = list(zip(*told, strict=True))
        entries = self._entries(columns)
        stored = columns[8]
        payloads = decoded_payloads(columns[2], columns[7], stored)
        run, tell_of = self.folded, _TELLS.get
        for entry, payload, data in zip(entries, payloads, stored, strict=True):
            of_attempt = run.add(entry, payload)
            if run.odd:
                entry.anomalies = tuple(Anomaly(code, message) for code, message in run.take_odd())
            tell = tell_of(entry.event_type)
            if tell is not None:
                tell(entry, run, of_attempt, payload)
            if data is None:
                _tell_erased(entry, erasures.get(entry.position))
        return entries

    def _entries(self, columns: Sequence[Sequence[Any]]) -> list[TimelineEntry]:
        """What the columns say; the rest is in the payloads."""
        if self._first is None:
            self._first, _ = two_ticks(columns[3][0])
        entries, first, begin = [], self._first, EPOCH + TICK * self._first
        for position, version, event_type, times, step_id, attempt, actor, _, _ in zip(*columns, strict=True):
            occurred, recorded = two_ticks(times)
            since = occurred - first
            entry = TimelineEntry(
                position,
                version,
                event_type,
                begin + TICK * since,
                begin + TICK * (recorded - first),
                since // TICKS_PER_MS if since >= 0 else None,
                step_id,
                attempt,
                actor,
                "",
            )
            entries.append(entry)
        return entries

    def timeline(self, entries: list[TimelineEntry]) -> Timeline:
        run = self.folded
        # Every value is one of ours already: validating each once more would double the time.
        return Timeline.model_construct(
            tenant_id=self.tenant_id,
            run_id=run.run_id,
            status=run.status,
            pipeline=run.pipeline,
            prompt_pack_id=run.prompt_pack_id,
            prompt_pack_version=run.prompt_pack_version,
            prompt_pack_digest=run.prompt_pack_digest,
            started_at=run.started_at,
            ended_at=run.ended_at,
            duration_ms=run.duration_ms,
            attempts=run.spans(),
            entries=entries,
        )


def timeline_of(
    tenant_id: str, run_id: str, events: Iterable[RecordedEvent], erasures: Erasures = NO_ERASURES
) -> Timeline:
    builder = TimelineBuilder(tenant_id, run_id)
    return builder.timeline(builder.add([as_told(event) for event in events], erasures))


def as_told(event: RecordedEvent) -> Sequence[Any]:
    """An event that was read whole, as `read_for_timeline` would have read it."""
    return (
        event.position,
        event.version,
        str(event.event_type),
        as_two_ticks(event.timestamp, event.recorded_at),
        event.step_id,
        event.attempt,
        event.actor,
        event.schema_version,
        event.data,
    )


def span_of(row: AttemptRow, run: RunRow) -> AttemptSpan:
    return AttemptSpan(
        row.step_id,
        row.ordinal,
        row.attempt,
        row.status,
        row.started_at,
        row.ended_at,
        row.duration_ms,
        row.retry_wait_ms,
        row.queue_ms,
        row.actor,
        row.worker,
        row.model,
        prompt_text(row.prompt),
        prompt_digest(row.prompt),
        run.prompt_pack_id,
        run.prompt_pack_version,
        run.prompt_pack_digest,
        row.error_category,
        row.retryable,
        row.started_position,
        row.ended_position,
    )


def _tell_start(entry: TimelineEntry, run: TimelineFold, attempt: AttemptSpan | None, _: Payload) -> None:
    assert attempt is not None
    entry.model = model = attempt.model
    entry.prompt = prompt = attempt.prompt
    entry.summary = start_summary(model, prompt)
    entry.prompt_digest = attempt.prompt_digest
    entry.prompt_pack_id = run.prompt_pack_id
    entry.prompt_pack_version = run.prompt_pack_version
    entry.prompt_pack_digest = run.prompt_pack_digest
    if attempt.retry_wait_ms is not None or attempt.queue_ms is not None:
        entry.waited_ms = (attempt.retry_wait_ms or 0) + (attempt.queue_ms or 0)


def _tell_success(
    entry: TimelineEntry, _: TimelineFold, attempt: AttemptSpan | None, payload: Payload
) -> None:
    assert attempt is not None
    entry.duration_ms = attempt.duration_ms
    if outputs := payload.get("outputs"):
        entry.summary = outputs_summary(outputs)


def _tell_end(entry: TimelineEntry, _: TimelineFold, attempt: AttemptSpan | None, payload: Payload) -> None:
    if attempt is not None:
        entry.duration_ms = attempt.duration_ms
    entry.summary = summary_of(entry.event_type, payload)


def _tell_failure(
    entry: TimelineEntry, run: TimelineFold, attempt: AttemptSpan | None, payload: Payload
) -> None:
    _tell_end(entry, run, attempt, payload)
    _say_error(entry, payload)


def _tell_retry(entry: TimelineEntry, _: TimelineFold, __: AttemptSpan | None, payload: Payload) -> None:
    _say_error(entry, payload)
    entry.summary = summary_of(entry.event_type, payload)


def _tell_run_ended(entry: TimelineEntry, run: TimelineFold, _: AttemptSpan | None, payload: Payload) -> None:
    entry.duration_ms = run.duration_ms
    entry.summary = summary_of(entry.event_type, payload)


def _tell_run_failed(
    entry: TimelineEntry, run: TimelineFold, _: AttemptSpan | None, payload: Payload
) -> None:
    _tell_run_ended(entry, run, None, payload)
    _say_error(entry, payload)


def _tell_stored(entry: TimelineEntry, _: TimelineFold, __: AttemptSpan | None, payload: Payload) -> None:
    if payload:
        entry.summary = stored_summary(payload)


def _tell(entry: TimelineEntry, _: TimelineFold, __: AttemptSpan | None, payload: Payload) -> None:
    entry.summary = summary_of(entry.event_type, payload)


def _say_error(entry: TimelineEntry, payload: Payload) -> None:
    if error := payload.get("error"):
        entry.error_category = error["category"]
        entry.retryable = error["category"] == "retryable"


_Tell = Callable[[TimelineEntry, TimelineFold, AttemptSpan | None, Payload], None]

_TELLS: Mapping[str, _Tell] = {
    **dict.fromkeys(map(str, EventType), _tell),
    EventType.STEP_STARTED: _tell_start,
    EventType.STEP_SUCCEEDED: _tell_success,
    EventType.STEP_FAILED: _tell_failure,
    EventType.STEP_RETRYING: _tell_retry,
    EventType.STEP_LOST: _tell_end,
    EventType.ARTIFACT_STORED: _tell_stored,
    EventType.RUN_SUCCEEDED: _tell_run_ended,
    EventType.RUN_FAILED: _tell_run_failed,
    EventType.RUN_CANCELLED: _tell_run_ended,
}


def _tell_erased(entry: TimelineEntry, record: RecordedEvent | None) -> None:
    erasure = erasure_of(entry, record)
    entry.erased = True
    entry.erased_at = erasure.erased_at
    entry.erased_by = erasure.erased_by
    entry.erased_reason = erasure.erased_reason
    if erasure.erased_at is None:
        entry.summary = "payload erased, and no record says by whom"
    else:
        entry.summary = f"payload erased by {erasure.erased_by}: {erasure.erased_reason}"

"""Timeline: what happened in a run, event by event, with what the fold finds odd about each, and attempt
by attempt, with what each waited for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from ledger.contract.events import EventType, RecordedEvent
from projections.audit.answers import Answer
from projections.audit.erasures import Erasure, erasure_of
from projections.audit.history import RunHistory
from projections.audit.summaries import Payload, prompt_digest, prompt_text, summary_of
from projections.fold import RunState, fold_decoded
from projections.fold.durations import milliseconds_between
from projections.fold.runs import ENDED
from projections.rows import AnomalyRow, AttemptRow, RunRow

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


@dataclass(slots=True)
class AttemptSpan:
    """One attempt from its start to its end; either time is None where nothing recorded it. It waited
    `retry_wait_ms` from the end of the attempt before it, then `queue_ms` for a worker where the engine
    said when it was offered. `prompt` is name and version, `prompt_digest` that of its template; the pack is
    the run's, its digest that of all its prompts; `ordinal` counts a step's attempts."""

    step_id: str
    ordinal: int
    attempt: int
    status: str
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: int | None
    retry_wait_ms: int | None
    queue_ms: int | None
    actor: str | None
    worker: str | None
    model: str | None
    prompt: str | None
    prompt_digest: str | None
    prompt_pack_id: str | None
    prompt_pack_version: str | None
    prompt_pack_digest: str | None
    error_category: str | None
    retryable: bool | None
    started_position: int | None
    ended_position: int | None


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
        self.state = RunState(run_id)
        self._first: datetime | None = None
        self._anomalies = 0

    @property
    def has_ended(self) -> bool:
        return self.state.run is not None and self.state.run.status in ENDED

    def add(
        self,
        events: Iterable[RecordedEvent],
        erasure_records: Mapping[int, RecordedEvent] = MappingProxyType({}),
    ) -> list[TimelineEntry]:
        """`erasure_records` are those of erased events, by the erased position."""
        return [self._add(event, erasure_records) for event in events]

    def timeline(self, entries: list[TimelineEntry]) -> Timeline:
        run = self.state.run or RunRow(self.state.run_id)
        history = RunHistory(self.tenant_id, run.run_id, self.state)
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
            attempts=[span_of(row, run) for row in history.attempts],
            entries=entries,
        )

    def _add(self, event: RecordedEvent, records: Mapping[int, RecordedEvent]) -> TimelineEntry:
        state, payload, event_type = self.state, event.payload or {}, event.event_type
        fold_decoded(state, event, payload)
        run = state.run
        if run is not None and run.anomalies == self._anomalies:
            state.touched.clear()
            odd: tuple[Anomaly, ...] = ()
        else:
            odd = self._take_anomalies()
        first = self._first
        if first is None:
            first = self._first = event.timestamp
        entry = TimelineEntry(
            event.position,
            event.version,
            str(event_type),
            event.timestamp,
            event.recorded_at,
            milliseconds_between(first, event.timestamp),
            event.step_id,
            event.attempt,
            event.actor,
            summary_of(event_type, payload),
            anomalies=odd,
        )
        if event.data is None:
            _say_erased(entry, erasure_of(event, records.get(event.position)))
        for say in _SAID_OF.get(event_type, ()):
            say(entry, state, event, payload)
        return entry

    def _take_anomalies(self) -> tuple[Anomaly, ...]:
        self._anomalies = self.state.run.anomalies if self.state.run else 0
        rows = [row for row in self.state.take_touched() if isinstance(row, AnomalyRow)]
        return tuple(Anomaly(row.code, row.message) for row in rows)


def timeline_of(
    tenant_id: str,
    run_id: str,
    events: Iterable[RecordedEvent],
    erasure_records: Mapping[int, RecordedEvent] = MappingProxyType({}),
) -> Timeline:
    builder = TimelineBuilder(tenant_id, run_id)
    return builder.timeline(builder.add(events, erasure_records))


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


def _say_start(entry: TimelineEntry, state: RunState, event: RecordedEvent, _: Payload) -> None:
    attempt, run = state.attempts[event.step_id or ""][-1], state.the_run(event)
    entry.model = attempt.model
    entry.prompt = prompt_text(attempt.prompt)
    entry.prompt_digest = prompt_digest(attempt.prompt)
    entry.prompt_pack_id = run.prompt_pack_id
    entry.prompt_pack_version = run.prompt_pack_version
    entry.prompt_pack_digest = run.prompt_pack_digest
    if attempt.retry_wait_ms is not None or attempt.queue_ms is not None:
        entry.waited_ms = (attempt.retry_wait_ms or 0) + (attempt.queue_ms or 0)


def _say_attempt_ended(entry: TimelineEntry, state: RunState, event: RecordedEvent, _: Payload) -> None:
    for row in reversed(state.attempts.get(event.step_id or "", ())):
        if row.ended_position == event.position:
            entry.duration_ms = row.duration_ms
            return


def _say_run_ended(entry: TimelineEntry, state: RunState, event: RecordedEvent, _: Payload) -> None:
    entry.duration_ms = state.the_run(event).duration_ms


def _say_error(entry: TimelineEntry, _: RunState, __: RecordedEvent, payload: Payload) -> None:
    if error := payload.get("error"):
        entry.error_category = error["category"]
        entry.retryable = error["category"] == "retryable"


_Say = Callable[[TimelineEntry, RunState, RecordedEvent, Payload], None]

_SAID_OF: Mapping[EventType | str, tuple[_Say, ...]] = {
    EventType.STEP_STARTED: (_say_start,),
    EventType.STEP_SUCCEEDED: (_say_attempt_ended,),
    EventType.STEP_FAILED: (_say_attempt_ended, _say_error),
    EventType.STEP_LOST: (_say_attempt_ended,),
    EventType.STEP_RETRYING: (_say_error,),
    EventType.RUN_SUCCEEDED: (_say_run_ended,),
    EventType.RUN_FAILED: (_say_run_ended, _say_error),
    EventType.RUN_CANCELLED: (_say_run_ended,),
}


def _say_erased(entry: TimelineEntry, erasure: Erasure) -> None:
    entry.erased = True
    entry.erased_at = erasure.erased_at
    entry.erased_by = erasure.erased_by
    entry.erased_reason = erasure.erased_reason
    if erasure.erased_at is None:
        entry.summary = "payload erased, and no record says by whom"
    else:
        entry.summary = f"payload erased by {erasure.erased_by}: {erasure.erased_reason}"

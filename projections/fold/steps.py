"""What the events of a step's attempts mean."""

from typing import Any

from ledger.contract.events import RecordedEvent
from projections.fold.artifacts import note_inputs, note_outputs
from projections.fold.durations import milliseconds_between
from projections.fold.runs import ENDED
from projections.fold.state import RunState
from projections.fold.times import utc_time
from projections.fold.usage import note_usage
from projections.rows import AttemptRow, RunRow, StepRow

NEXT_ATTEMPT = "the next attempt"
"""What noticed that an attempt was lost, where nobody said so."""


def started(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    run = _open_run(state, event)
    earlier = state.attempts.get(event.step_id or "")
    previous = earlier[-1] if earlier else None
    _expect_next(state, event, previous, event.attempt or 1)
    step = state.step(event)
    attempt = state.new_attempt(event, step)
    attempt.started_at = event.timestamp
    attempt.started_position = event.position
    get = payload.get
    engine = attempt.engine = get("engine")
    _note_waits(event, attempt, engine, previous, (step, run))
    attempt.timeout_seconds = _float(payload, "timeout_seconds")
    inputs = attempt.inputs = get("inputs")
    attempt.model = get("model")
    attempt.prompt = get("prompt")
    attempt.worker = get("worker")
    attempt.actor = event.actor
    attempt.traceparent = event.traceparent
    step.status = "running"
    step.started_at = step.started_at or event.timestamp
    step.ended_at = step.duration_ms = None
    run.current_step = step.step_id
    if inputs:
        note_inputs(state, event, inputs)


def succeeded(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    attempt, step, _ = _ended(state, event, payload, "succeeded")
    _close_step(state, event, step, attempt, "succeeded")
    outputs = attempt.outputs = step.outputs = payload.get("outputs")
    note_outputs(state, event, outputs)


def failed(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    attempt, step, run = _ended(state, event, payload, "failed")
    error = payload.get("error") or {}
    attempt.error = payload.get("error")
    attempt.error_category = error.get("category")
    attempt.error_message = error.get("message")
    # Unknown where the payload was erased: then nobody may conclude anything.
    attempt.retryable = error["category"] == "retryable" if "category" in error else None
    attempt.will_retry = payload.get("will_retry")
    attempt.retry_delay_ms = _float(payload, "retry_delay_ms")
    _close_step(state, event, step, attempt, "waiting_for_retry" if attempt.will_retry else "failed")
    step.failures += 1
    step.error = attempt.error
    step.error_category = attempt.error_category
    step.error_message = attempt.error_message
    step.retryable = attempt.retryable
    _count_failure(run, attempt.error_category)


def retrying(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    run = _open_run(state, event)
    step = state.step(event)
    if not state.attempts.get(step.step_id):
        state.anomaly(event, "retry_of_nothing", "step.retrying before any attempt of the step")
    step.status = "waiting_for_retry"
    step.retries += 1
    run.retries += 1


def lost(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    number = payload.get("previous_attempt") or event.attempt or 1
    attempt = _latest(state, event, number, ("running",))
    if attempt is None:
        state.anomaly(event, "lost_attempt_unknown", f"step.lost for attempt {number}, which is not running")
        state.step(event)
        return
    last_seen = payload.get("last_seen")
    attempt.last_seen_at = None if last_seen is None else utc_time(last_seen)
    _mark_lost(state, event, attempt, payload.get("detected_by") or event.actor)
    step = state.step(event)
    if _is_last(state, attempt):
        step.status = "lost"


def _float(payload: dict[str, Any], key: str) -> float | None:
    """JSON may say 30 where the column holds 30.0, and a digest tells the two apart."""
    value = payload.get(key)
    return None if value is None else float(value)


def _open_run(state: RunState, event: RecordedEvent) -> RunRow:
    run = state.the_run(event)
    if run.status == "running":
        return run
    if run.status == "not_started":
        state.anomaly(event, "step_before_run", f"{event.event_type} before any run.started")
    elif run.status in ENDED:
        state.anomaly(event, "step_after_run", f"{event.event_type} after the run was {run.status}")
    return run


def _expect_next(state: RunState, event: RecordedEvent, last: AttemptRow | None, number: int) -> None:
    if last is None:
        if number > 1:
            state.anomaly(event, "attempt_skipped", f"the first recorded attempt is number {number}")
        return
    if last.status == "running":
        state.anomaly(event, "attempt_never_ended", f"attempt {last.attempt} had no end when the next began")
        _mark_lost(state, event, last, NEXT_ATTEMPT)
    if number <= last.attempt:
        state.anomaly(event, "attempt_went_back", f"attempt {number} began after attempt {last.attempt}")
    elif number > last.attempt + 1:
        state.anomaly(event, "attempt_skipped", f"attempt {number} began after attempt {last.attempt}")


def _ended(
    state: RunState, event: RecordedEvent, payload: dict[str, Any], status: str
) -> tuple[AttemptRow, StepRow, RunRow]:
    run, step = _open_run(state, event), state.step(event)
    attempt = _latest(state, event, event.attempt or 1, ("running", "lost"))
    if attempt is None:
        # Every reported end is kept: one that fits no open attempt gets a row of its own.
        state.anomaly(event, "end_without_start", f"{event.event_type} of an attempt that is not running")
        attempt = state.new_attempt(event, step)
    elif attempt.status == "lost":
        state.anomaly(event, "end_after_lost", f"attempt {attempt.attempt} had been given up for lost")
        step.lost -= 1
        run.lost -= 1
    state.touched[id(attempt)] = attempt
    if attempt.started_at is not None and event.timestamp < attempt.started_at:
        state.anomaly(event, "ended_before_it_started", "the end's time lies before the start's")
    get = payload.get
    given = get("duration_ms")
    attempt.status = status
    attempt.ended_at = event.timestamp
    attempt.ended_position = event.position
    attempt.duration_ms = (
        milliseconds_between(attempt.started_at, event.timestamp) if given is None else round(given)
    )
    inputs_read = attempt.inputs_read = get("inputs_read")
    attempt.validation_reports = get("validation_reports")
    usage = attempt.usage = get("usage")
    step.active_ms += attempt.duration_ms or 0
    run.active_ms += attempt.duration_ms or 0
    if usage:
        note_usage(attempt, (step, run), usage)
    if inputs_read:
        note_inputs(state, event, inputs_read)
    return attempt, step, run


def _close_step(
    state: RunState, event: RecordedEvent, step: StepRow, attempt: AttemptRow, status: str
) -> None:
    """The step stands where its last attempt stands: the word of an earlier one, given up for lost
    and succeeded by another, changes only its own row."""
    if _is_last(state, attempt):
        step.status = status
        step.ended_at = event.timestamp
        step.duration_ms = milliseconds_between(step.started_at, event.timestamp)
        step.validation_reports = attempt.validation_reports


def _is_last(state: RunState, attempt: AttemptRow) -> bool:
    return state.attempts[attempt.step_id][-1] is attempt


def _mark_lost(state: RunState, event: RecordedEvent, attempt: AttemptRow, lost_by: str | None) -> None:
    attempt.status = "lost"
    attempt.lost_by = lost_by
    attempt.ended_position = event.position
    state.step(event).lost += 1
    state.the_run(event).lost += 1
    state.touch(attempt)


def _note_waits(
    event: RecordedEvent,
    attempt: AttemptRow,
    engine: dict[str, Any] | None,
    previous: AttemptRow | None,
    totals: tuple[StepRow, RunRow],
) -> None:
    """How long the attempt waited to be tried again, from the end of the one before it until the engine
    offered it, and from then on for a worker. Where the engine does not say, all of it is the former."""
    scheduled = engine.get("scheduled_at") if engine else None
    if scheduled is None and previous is None:
        return
    offered_at = event.timestamp
    if scheduled is not None:
        offered_at = attempt.scheduled_at = utc_time(scheduled)
        attempt.queue_ms = milliseconds_between(offered_at, event.timestamp)
        for total in totals:
            total.queue_ms = (total.queue_ms or 0) + (attempt.queue_ms or 0)
    if previous is not None:
        attempt.retry_wait_ms = milliseconds_between(previous.ended_at, offered_at)
        for total in totals:
            total.retry_wait_ms += attempt.retry_wait_ms or 0


def _count_failure(run: RunRow, category: str | None) -> None:
    run.failures += 1
    if category == "retryable":
        run.retryable_failures += 1
    elif category == "non_retryable":
        run.non_retryable_failures += 1
    elif category == "validation_fail":
        run.validation_failures += 1


def _latest(
    state: RunState, event: RecordedEvent, number: int, statuses: tuple[str, ...]
) -> AttemptRow | None:
    """The last attempt of the event's step with this number, where its status is one of `statuses`."""
    for attempt in reversed(state.attempts.get(event.step_id or "", [])):
        if attempt.attempt == number:
            return attempt if attempt.status in statuses else None
    return None

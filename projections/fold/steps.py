"""What the events of a step's attempts mean."""

from typing import Any

from ledger.contract.events import RecordedEvent
from projections.fold.artifacts import note_refs
from projections.fold.durations import milliseconds_between
from projections.fold.runs import ENDED
from projections.fold.state import RunState
from projections.rows import AttemptRow


def started(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    _expect_open_run(state, event)
    earlier = state.attempts.get(event.step_id or "", [])
    number = event.attempt or 1
    _expect_next(state, event, earlier, number)
    attempt = state.new_attempt(event)
    attempt.started_at = event.timestamp
    attempt.started_position = event.position
    attempt.timeout_seconds = _float(payload, "timeout_seconds")
    attempt.inputs = payload.get("inputs")
    attempt.model = payload.get("model")
    attempt.prompt = payload.get("prompt")
    attempt.engine = payload.get("engine")
    attempt.worker = payload.get("worker")
    attempt.actor = event.actor
    attempt.traceparent = event.traceparent
    step = state.step(event)
    step.status = "running"
    step.started_at = step.started_at or event.timestamp
    step.ended_at = step.duration_ms = None
    state.the_run(event).current_step = step.step_id
    note_refs(state, event, payload.get("inputs"), "input")


def succeeded(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    attempt = _ended(state, event, payload, "succeeded")
    attempt.outputs = payload.get("outputs")
    step = state.step(event)
    _close_step(state, event, attempt, "succeeded")
    step.outputs = payload.get("outputs")
    note_refs(state, event, (payload.get("outputs") or {}).values(), "output")


def failed(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    attempt = _ended(state, event, payload, "failed")
    error = payload.get("error") or {}
    attempt.error = payload.get("error")
    attempt.error_category = error.get("category")
    attempt.error_message = error.get("message")
    # Unknown where the payload was erased: then nobody may conclude anything.
    attempt.retryable = error["category"] == "retryable" if "category" in error else None
    attempt.will_retry = payload.get("will_retry")
    attempt.retry_delay_ms = _float(payload, "retry_delay_ms")
    step = state.step(event)
    _close_step(state, event, attempt, "waiting_for_retry" if attempt.will_retry else "failed")
    step.failures += 1
    step.error = attempt.error
    step.error_category = attempt.error_category
    step.error_message = attempt.error_message
    step.retryable = attempt.retryable
    state.the_run(event).failures += 1


def retrying(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    _expect_open_run(state, event)
    step = state.step(event)
    if not state.attempts.get(step.step_id):
        state.anomaly(event, "retry_of_nothing", "step.retrying before any attempt of the step")
    step.status = "waiting_for_retry"
    step.retries += 1
    state.the_run(event).retries += 1


def lost(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    number = payload.get("previous_attempt") or event.attempt or 1
    attempt = _latest(state, event, number, ("running",))
    if attempt is None:
        state.anomaly(event, "lost_attempt_unknown", f"step.lost for attempt {number}, which is not running")
        state.step(event)
        return
    _mark_lost(state, event, attempt)
    step = state.step(event)
    if _is_last(state, attempt):
        step.status = "lost"


def _float(payload: dict[str, Any], key: str) -> float | None:
    """JSON may say 30 where the column holds 30.0, and a digest tells the two apart."""
    value = payload.get(key)
    return None if value is None else float(value)


def _expect_open_run(state: RunState, event: RecordedEvent) -> None:
    run = state.the_run(event)
    if run.status == "not_started":
        state.anomaly(event, "step_before_run", f"{event.event_type} before any run.started")
    elif run.status in ENDED:
        state.anomaly(event, "step_after_run", f"{event.event_type} after the run was {run.status}")


def _expect_next(state: RunState, event: RecordedEvent, earlier: list[AttemptRow], number: int) -> None:
    if not earlier:
        if number > 1:
            state.anomaly(event, "attempt_skipped", f"the first recorded attempt is number {number}")
        return
    last = earlier[-1]
    if last.status == "running":
        state.anomaly(event, "attempt_never_ended", f"attempt {last.attempt} had no end when the next began")
        _mark_lost(state, event, last)
    if number <= last.attempt:
        state.anomaly(event, "attempt_went_back", f"attempt {number} began after attempt {last.attempt}")
    elif number > last.attempt + 1:
        state.anomaly(event, "attempt_skipped", f"attempt {number} began after attempt {last.attempt}")


def _ended(state: RunState, event: RecordedEvent, payload: dict[str, Any], status: str) -> AttemptRow:
    _expect_open_run(state, event)
    attempt = _latest(state, event, event.attempt or 1, ("running", "lost"))
    if attempt is None:
        # Every reported end is kept: one that fits no open attempt gets a row of its own.
        state.anomaly(event, "end_without_start", f"{event.event_type} of an attempt that is not running")
        attempt = state.new_attempt(event)
    elif attempt.status == "lost":
        state.anomaly(event, "end_after_lost", f"attempt {attempt.attempt} had been given up for lost")
    state.touch(attempt)
    if attempt.started_at is not None and event.timestamp < attempt.started_at:
        state.anomaly(event, "ended_before_it_started", "the end's time lies before the start's")
    given = payload.get("duration_ms")
    attempt.status = status
    attempt.ended_at = event.timestamp
    attempt.ended_position = event.position
    attempt.duration_ms = (
        milliseconds_between(attempt.started_at, event.timestamp) if given is None else round(given)
    )
    attempt.inputs_read = payload.get("inputs_read")
    attempt.validation_reports = payload.get("validation_reports")
    attempt.usage = payload.get("usage")
    note_refs(state, event, payload.get("inputs_read"), "input")
    return attempt


def _close_step(state: RunState, event: RecordedEvent, attempt: AttemptRow, status: str) -> None:
    """The step stands where its last attempt stands: the word of an earlier one, given up for lost
    and succeeded by another, changes only its own row."""
    step = state.step(event)
    if _is_last(state, attempt):
        step.status = status
        step.ended_at = event.timestamp
        step.duration_ms = milliseconds_between(step.started_at, event.timestamp)


def _is_last(state: RunState, attempt: AttemptRow) -> bool:
    return state.attempts[attempt.step_id][-1] is attempt


def _mark_lost(state: RunState, event: RecordedEvent, attempt: AttemptRow) -> None:
    attempt.status = "lost"
    attempt.ended_position = event.position
    state.touch(attempt)


def _latest(
    state: RunState, event: RecordedEvent, number: int, statuses: tuple[str, ...]
) -> AttemptRow | None:
    """The last attempt of the event's step with this number, where its status is one of `statuses`."""
    for attempt in reversed(state.attempts.get(event.step_id or "", [])):
        if attempt.attempt == number:
            return attempt if attempt.status in statuses else None
    return None

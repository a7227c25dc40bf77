"""What the events of a whole run mean."""

from typing import Any

from ledger.contract.events import RecordedEvent
from projections.fold.artifacts import note_inputs, note_outputs
from projections.fold.durations import milliseconds_between
from projections.fold.state import RunState
from projections.rows import RunRow

ENDED = frozenset({"succeeded", "failed", "cancelled"})


def started(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    run = state.the_run(event)
    if run.status != "not_started":
        state.anomaly(event, "run_started_again", f"run.started while the run was {run.status}")
    elif event.version > 1:
        state.anomaly(event, "run_started_late", "events of the run were recorded before its run.started")
    pack = payload.get("prompt_pack") or {}
    run.status = "running"
    run.pipeline = payload.get("pipeline")
    run.prompt_pack_id = pack.get("pack_id")
    run.prompt_pack_version = None if pack.get("version") is None else str(pack["version"])
    run.prompt_pack_digest = pack.get("digest")
    run.parent_run_id = payload.get("parent_run_id")
    run.started_at = event.timestamp
    run.ended_at = run.duration_ms = None
    run.failing_step = run.error = run.error_category = run.error_message = None
    run.inputs = payload.get("inputs")
    run.config = payload.get("config")
    run.labels = payload.get("labels")
    note_inputs(state, event, payload.get("inputs"))
    state.audit(event, subject=run.prompt_pack_id, details={"pipeline": run.pipeline, "prompt_pack": pack})


def succeeded(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    run = _ended(state, event, "succeeded")
    run.outputs = payload.get("outputs")
    run.summary = payload.get("summary")
    note_outputs(state, event, payload.get("outputs"))
    open_steps = sorted(step.step_id for step in state.steps.values() if step.status == "running")
    if open_steps:
        named = ", ".join(open_steps[:5])
        state.anomaly(event, "run_ended_with_open_steps", f"still running: {named}")


def failed(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    run = _ended(state, event, "failed")
    error = payload.get("error") or {}
    run.error = payload.get("error")
    run.error_category = error.get("category")
    run.error_message = error.get("message")
    step_id = error.get("step_id")
    run.failing_step = step_id if step_id in state.steps else None
    run.outputs = payload.get("outputs")
    run.summary = payload.get("summary")


def cancelled(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    _ended(state, event, "cancelled")
    state.audit(event, actor=payload.get("by"), reason=payload.get("reason"))


def _ended(state: RunState, event: RecordedEvent, status: str) -> RunRow:
    run = state.the_run(event)
    if run.status == "not_started":
        state.anomaly(event, "run_end_without_start", f"run.{status} before any run.started")
    elif run.status in ENDED:
        state.anomaly(event, "run_ended_twice", f"run.{status} after the run was {run.status}")
    run.status = status
    run.ended_at = event.timestamp
    run.duration_ms = milliseconds_between(run.started_at, event.timestamp)
    return run

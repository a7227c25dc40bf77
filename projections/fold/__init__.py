"""The fold: events in, rows out. Pure, and the only place that knows what events mean: projector,
rebuild, verify and as-of all use it, so that they cannot disagree."""

from collections.abc import Callable
from typing import Any

from ledger.contract.events import PAYLOAD_MODELS, EventType, RecordedEvent
from projections.fold import artifacts, prompts, runs, steps, tenant
from projections.fold.graph_state import IN_GRAPH_STATE, GraphStateFold, graph_state
from projections.fold.state import RunState
from projections.fold.tenant import erased_position

__all__ = [
    "IN_GRAPH_STATE",
    "GraphStateFold",
    "RunState",
    "erased_position",
    "fold",
    "fold_decoded",
    "graph_state",
]

_Handler = Callable[[RunState, RecordedEvent, dict[str, Any]], None]

_HANDLERS: dict[EventType, _Handler] = {
    EventType.RUN_STARTED: runs.started,
    EventType.RUN_SUCCEEDED: runs.succeeded,
    EventType.RUN_FAILED: runs.failed,
    EventType.RUN_CANCELLED: runs.cancelled,
    EventType.STEP_STARTED: steps.started,
    EventType.STEP_SUCCEEDED: steps.succeeded,
    EventType.STEP_FAILED: steps.failed,
    EventType.STEP_RETRYING: steps.retrying,
    EventType.STEP_LOST: steps.lost,
    EventType.REPAIR_APPLIED: artifacts.repaired,
    EventType.ARTIFACT_STORED: artifacts.stored,
    EventType.PROMPT_PACK_PUBLISHED: prompts.published,
    EventType.PROMPT_PACK_REVISED: prompts.published,
    EventType.PROMPT_PACK_RETIRED: prompts.retired,
    EventType.PROJECTION_REBUILT: tenant.recorded,
    EventType.PAYLOAD_ERASED: tenant.recorded,
    EventType.BLOBS_COLLECTED: tenant.recorded,
}

_MEANINGS = {
    event_type: (_HANDLERS[event_type], frozenset(model.model_fields))
    for event_type, model in PAYLOAD_MODELS.items()
}


def fold(state: RunState, event: RecordedEvent) -> None:
    """Applies `event`, the next of its stream, to `state`. Events of other applications, which
    carry a topic of their own, mean nothing here and are passed over."""
    fold_decoded(state, event, event.payload or {})


def fold_decoded(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    """`fold`, for whoever has decoded the event's payload already; empty where it was erased."""
    event_type = event.event_type
    if not isinstance(event_type, EventType):
        return
    handler, known_keys = _MEANINGS[event_type]
    if not payload.keys() <= known_keys:
        unknown = ", ".join(sorted(payload.keys() - known_keys)[:5])
        state.anomaly(event, "unknown_payload_keys", f"{event_type.value} carries {unknown}"[:300])
    handler(state, event, payload)
    if state.is_of_run:
        _move_on(state, event)


def _move_on(state: RunState, event: RecordedEvent) -> None:
    run = state.run or state.the_run(event)
    run.last_position = event.position
    run.last_version = event.version
    run.last_recorded_at = event.recorded_at
    state.touched[id(run)] = run

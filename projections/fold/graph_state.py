"""GraphState from the rows of a run."""

from typing import Any

from pydantic import TypeAdapter

from ledger.contract.artifact_ref import ArtifactRef
from ledger.contract.errors import StepError
from ledger.contract.event_type import EventType
from ledger.contract.state import GraphState, ValidationReport
from projections.fold.state import RunState

OUTPUT_NAME = "output"
NOT_IN_GRAPH_STATE = frozenset({EventType.ARTIFACT_STORED, EventType.REPAIR_APPLIED})
"""Nothing of a GraphState comes from these: whoever wants nothing else need not read them."""

# One call for all of a kind: a call for each takes twice as long.
_OUTPUTS = TypeAdapter(dict[str, ArtifactRef])
_REPORTS = TypeAdapter(list[ValidationReport])
_ERRORS = TypeAdapter(list[StepError])


def graph_state(state: RunState, tenant_id: str) -> GraphState:
    """Where the run stands, in references only."""
    run = state.run
    ended = sorted(
        (attempt for attempts in state.attempts.values() for attempt in attempts),
        key=lambda attempt: attempt.ended_position or 0,
    )
    return GraphState(
        run_id=state.run_id,
        tenant_id=tenant_id,
        current_step=run.current_step if run else None,
        step_outputs=_OUTPUTS.validate_python(_step_outputs(state)),
        validation_reports=_REPORTS.validate_python(
            [report for attempt in ended for report in _list(attempt.validation_reports)]
        ),
        errors=_ERRORS.validate_python([attempt.error for attempt in ended if attempt.error]),
        config=_dict(run.config if run else None),
        metadata=_dict(run.labels if run else None),
    )


def _step_outputs(state: RunState) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    for step in state.steps.values():
        named = _dict(step.outputs)
        for name, ref in named.items():
            is_the_output = name == OUTPUT_NAME or len(named) == 1
            key = step.step_id if is_the_output else f"{step.step_id}/{name}"
            outputs[key] = ref
    return outputs


def _list(value: Any) -> list[Any]:
    return list(value) if value else []


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if value else {}

"""RunStateAnswer: where a run stood at a point, in references only, and which point that was."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from projections.audit.answers import Answer, Failure, Reference, Report
from projections.audit.erasures import Erasure
from projections.audit.history import RunHistory
from projections.fold import graph_state


class StateAsOf(Answer):
    """GraphState's fields, and the event it was folded up to: its tenant-wide `position`, the run's own
    `version`, and when it was recorded. `erased` names the events of which nothing could be folded."""

    run_id: str
    tenant_id: str
    position: int
    version: int
    recorded_at: datetime
    status: str
    current_step: str | None
    step_outputs: dict[str, Reference]
    validation_reports: list[Report]
    errors: list[Failure]
    config: dict[str, Any]
    metadata: dict[str, Any]
    erased: list[Erasure]


def state_as_of(history: RunHistory, erased: Sequence[Erasure] = ()) -> StateAsOf:
    """Of a run that has an event."""
    assert history.last is not None
    state = graph_state(history.state, history.tenant_id)
    return StateAsOf(
        run_id=history.run_id,
        tenant_id=history.tenant_id,
        position=history.last.position,
        version=history.last.version,
        recorded_at=history.last.recorded_at,
        status=history.run.status,
        current_step=state["current_step"],
        step_outputs={
            name: Reference.model_validate(ref.model_dump()) for name, ref in state["step_outputs"].items()
        },
        validation_reports=[
            Report.model_validate(report.model_dump()) for report in state["validation_reports"]
        ],
        errors=[Failure.model_validate(error.model_dump()) for error in state["errors"]],
        config=state["config"],
        metadata=state["metadata"],
        erased=list(erased),
    )

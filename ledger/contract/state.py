"""GraphState: where a run stands, in references only. It works as a LangGraph state."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict  # pydantic on Python 3.11 refuses typing's

from ledger.contract.artifact_ref import ArtifactRef
from ledger.contract.errors import StepError
from ledger.contract.times import AwareTime


class ValidationIssue(BaseModel):
    """One thing a validator found. `location` points into the artifact (a JSON pointer, a line)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    code: str
    message: str
    location: str | None = None
    severity: Literal["info", "warning", "error"] = "error"


class ValidationReport(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    validator: str
    passed: bool
    issues: list[ValidationIssue] = []
    checked_at: AwareTime


class GraphState(TypedDict):
    """Folded from events.

    `step_outputs` has key `step_id` for the output named `output` or the only one, else
    `step_id/name`; the last success wins. `errors` holds every attempt's. `current_step` is the
    last started. `config` and `metadata` come from run.started's config and labels.
    """

    run_id: str
    tenant_id: str
    current_step: str | None
    step_outputs: dict[str, ArtifactRef]
    validation_reports: list[ValidationReport]
    errors: list[StepError]
    config: dict[str, Any]
    metadata: dict[str, Any]

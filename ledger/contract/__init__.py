"""The contract: pydantic models and enums, nothing else."""

from ledger.contract.artifact_ref import ArtifactRef
from ledger.contract.context import ExecutionContext
from ledger.contract.errors import ErrorCategory, StepError, StepFailure
from ledger.contract.events import Event, EventType, RecordedEvent
from ledger.contract.state import GraphState, ValidationIssue, ValidationReport

__all__ = [
    "ArtifactRef",
    "ErrorCategory",
    "Event",
    "EventType",
    "ExecutionContext",
    "GraphState",
    "RecordedEvent",
    "StepError",
    "StepFailure",
    "ValidationIssue",
    "ValidationReport",
]

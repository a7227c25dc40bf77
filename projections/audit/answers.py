"""What answers are made of. Every answer is a pydantic model; its JSON is `model_dump_json()`, the same
that `--json` prints, with times in UTC (RFC 3339)."""

from typing import Any

from pydantic import BaseModel

from ledger.contract.artifact_ref import ArtifactRef
from ledger.contract.errors import StepError
from ledger.contract.state import ValidationReport
from ledger.contract.times import UtcTime


class Answer(BaseModel):
    """Base of what AuditQueries returns."""


class Reference(ArtifactRef):
    """An ArtifactRef whose time is in UTC, wherever it was recorded."""

    created_at: UtcTime


class Failure(StepError):
    """A StepError whose time is in UTC."""

    occurred_at: UtcTime


class Report(ValidationReport):
    """A ValidationReport whose time is in UTC."""

    checked_at: UtcTime


def references(refs: Any) -> list[Reference]:
    """From a row's JSON column: a list of references, or None."""
    return [Reference.model_validate(ref) for ref in refs or ()]


def named_references(refs: Any) -> dict[str, Reference]:
    return {name: Reference.model_validate(ref) for name, ref in (refs or {}).items()}


def reports(found: Any) -> list[Report]:
    return [Report.model_validate(report) for report in found or ()]


def failure(found: Any) -> Failure | None:
    return Failure.model_validate(found) if found else None

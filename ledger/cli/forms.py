"""Forms: what every reading command prints with `--json`, by the command's name (`prompts-list` is that of
`daicho prompts list`), as `daicho schema` tells it. They are stable: fields are added, never renamed or
removed (tests/cli/test_json_forms.py holds the recorded ones).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

from ledger.control.audit import Act
from ledger.control.catalogue import TenantRecord
from ledger.control.guards import Finding
from ledger.control.llm.records import LlmModel, LlmProvider, ResolvedLlm, StepLlmDefault
from ledger.control.servers import ServerRecord
from ledger.inspection import TenantStatus
from ledger.prompts.loading import PromptPackSummary
from ledger.upkeep.reports import CheckReport
from projections.audit import ANSWERS, RunsAsOf, TimelineEntry
from projections.rows import RunRow
from projections.verifying.report import Difference, TableReport


class RecordedLine(BaseModel):
    """An event, one per line. `payload` is in the present shape of its type; None where it was erased, or is
    another application's."""

    position: int
    version: int
    event_id: UUID
    event_type: str
    tenant_id: str
    run_id: str
    step_id: str | None
    attempt: int | None
    timestamp: datetime
    recorded_at: datetime
    actor: str | None
    traceparent: str | None
    schema_version: int
    erased: bool
    payload: dict[str, Any] | None


class RunsPage(BaseModel):
    """`next`, given as `--after`, goes on."""

    runs: list[RunRow]
    next: int | None


class Verified(BaseModel):
    """A VerifyReport, and whether all is equal."""

    tenant_id: str
    projection: str
    position: int
    events: int
    seconds: float
    tables: dict[str, TableReport]
    differences: list[Difference]
    difference_count: int
    awaiting_erasure: list[str]
    sampled: float
    ok: bool


class Inspected(BaseModel):
    ok: bool
    server: str
    tenants: list[str]
    findings: list[Finding]


class PromptPackShown(BaseModel):
    """`variables` are those of each prompt."""

    pack_id: str
    version: int
    digest: str
    prompts: dict[str, str]
    descriptions: dict[str, str]
    variables: dict[str, list[str]]


class PromptChanged(BaseModel):
    """`diff` is a unified diff."""

    name: str
    change: Literal["added", "removed", "changed"]
    diff: str


class PromptPackChanges(BaseModel):
    pack_id: str
    old: int
    new: int
    changes: list[PromptChanged]


FORMS: Mapping[str, Any] = {
    **ANSWERS,
    "runs": RunsPage,
    "runs-at": RunsAsOf,
    "timeline-follow": TimelineEntry,
    "tail": RecordedLine,
    "verify": Verified,
    "status": list[TenantStatus],
    "doctor": Inspected,
    "blob-fsck": CheckReport,
    "tenant-list": list[TenantRecord],
    "server-list": list[ServerRecord],
    "prompts-list": list[PromptPackSummary],
    "prompts-show": PromptPackShown,
    "prompts-diff": PromptPackChanges,
    "llm-resolve": ResolvedLlm,
    "llm-history": list[Act],
    "llm-provider-list": list[LlmProvider],
    "llm-provider-show": LlmProvider,
    "llm-model-list": list[LlmModel],
    "llm-model-show": LlmModel,
    "llm-default-list": list[StepLlmDefault],
    "llm-default-show": StepLlmDefault,
}


def schema_of_form(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one of `FORMS`."""
    return TypeAdapter(FORMS[name]).json_schema(mode="serialization")

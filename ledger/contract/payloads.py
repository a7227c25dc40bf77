"""One payload model per event type: what an event says beside its envelope.

Payloads are validated from their exact JSON bytes, strictly: a number is not accepted as a
string. Unknown keys are kept and shown as an anomaly by the fold; an erased payload has none.
"""

from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ledger.contract.artifact_ref import ArtifactRef
from ledger.contract.errors import StepError
from ledger.contract.state import ValidationIssue, ValidationReport
from ledger.contract.times import AwareTime

CONFIG_BYTES_MAX = 16 * 1024


def _small(value: dict[str, Any]) -> dict[str, Any]:
    # Config and labels become part of every GraphState, which engines persist at each step.
    size = len(orjson.dumps(value))
    if size > CONFIG_BYTES_MAX:
        raise ValueError(f"{size} bytes of JSON, at most {CONFIG_BYTES_MAX}: store it as an artifact")
    return value


SmallDict = Annotated[dict[str, Any], AfterValidator(_small)]
Milliseconds = Annotated[float, Field(ge=0, le=1e15)]
Attempt = Annotated[int, Field(ge=1, lt=2**31)]
DecimalString = Annotated[str, Field(pattern=r"^-?\d{1,18}(\.\d{1,18})?$")]


class Part(BaseModel):
    model_config = ConfigDict(extra="allow")


class Payload(BaseModel):
    model_config = ConfigDict(extra="allow")


class PromptPackName(Part):
    """The identity of the prompt pack a run was started with."""

    pack_id: str = Field(min_length=1)
    version: int | str
    digest: str = Field(min_length=1)


class PromptName(Part):
    name: str
    version: int | str | None = None
    digest: str | None = None


class Engine(Part):
    """Where the engine that drives a step (Temporal, LangGraph) keeps its own record of it.
    `scheduled_at` is when it offered this attempt to workers."""

    name: str | None = None
    workflow_id: str | None = None
    workflow_run_id: str | None = None
    activity_id: str | None = None
    queue: str | None = None
    scheduled_at: AwareTime | None = None


class Usage(Part):
    """What a model call consumed. `cost` is a decimal string in `currency` (ISO 4217)."""

    model: str | None = None
    input_tokens: int | None = Field(default=None, ge=0, lt=2**63)
    output_tokens: int | None = Field(default=None, ge=0, lt=2**63)
    cost: DecimalString | None = None
    currency: str | None = None


class RunStarted(Payload):
    prompt_pack: PromptPackName
    pipeline: str | None = None
    inputs: list[ArtifactRef] = []
    config: SmallDict = {}
    labels: SmallDict = {}
    parent_run_id: str | None = None


class RunSucceeded(Payload):
    outputs: dict[str, ArtifactRef] = {}
    summary: str | dict[str, Any] | None = None


class RunFailed(Payload):
    error: StepError
    outputs: dict[str, ArtifactRef] = {}
    summary: str | dict[str, Any] | None = None


class RunCancelled(Payload):
    reason: str | None = None
    by: str | None = None


class StepStarted(Payload):
    inputs: list[ArtifactRef] = []
    timeout_seconds: float | None = Field(default=None, gt=0)
    worker: str | None = None
    engine: Engine | None = None
    model: str | None = None
    prompt: PromptName | None = None


class StepSucceeded(Payload):
    inputs_read: list[ArtifactRef] = []
    outputs: dict[str, ArtifactRef] = {}
    validation_reports: list[ValidationReport] = []
    usage: Usage | None = None
    duration_ms: Milliseconds | None = None


class StepFailed(Payload):
    error: StepError
    will_retry: bool | None = None
    retry_delay_ms: Milliseconds | None = None
    inputs_read: list[ArtifactRef] = []
    validation_reports: list[ValidationReport] = []
    usage: Usage | None = None
    duration_ms: Milliseconds | None = None


class StepRetrying(Payload):
    previous_attempt: Attempt | None = None
    error: StepError | None = None
    delay_ms: Milliseconds | None = None


class StepLost(Payload):
    previous_attempt: Attempt | None = None
    detected_by: str | None = None
    last_seen: AwareTime | None = None


class RepairApplied(Payload):
    kind: str = Field(min_length=1)
    before: ArtifactRef
    after: ArtifactRef
    validator: str | None = None
    issues: list[ValidationIssue] = []
    note: str | None = None


class ArtifactStored(Payload):
    name: str = Field(min_length=1)
    ref: ArtifactRef


class PromptPackChanged(Payload):
    """A prompt pack was published, revised or retired. `prompts` maps names to templates, whole in
    every version, `descriptions` those that have one; `version` and `digest` of a retired pack are those
    of its last."""

    pack_id: str | None = None
    version: int | str | None = None
    digest: str | None = None
    prompts: dict[str, str] = {}
    descriptions: dict[str, str] = {}
    reason: str | None = None
    by: str | None = None


class ProjectionRebuilt(Payload):
    """`digests` maps each rebuilt table of `projection` (none: core) to the digest of its rows as of
    `position`; where `run_id` is given, this run alone was rebuilt, and the digests are of its rows. The
    event's actor is who rebuilt, `reason` is why."""

    projection: str | None = None
    position: int | None = Field(default=None, ge=0)
    events: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, ge=0)
    digests: dict[str, str] = {}
    run_id: str | None = None
    reason: str | None = None


class PayloadErased(Payload):
    """The payload of the event at `position` was erased, by whom and why."""

    position: int | None = Field(default=None, ge=1)
    event_id: str | None = None
    by: str | None = None
    reason: str | None = None


class BlobsCollected(Payload):
    """Blobs that no event up to `position` mentioned, and none until they were deleted, are gone:
    `deleted` of `listed`. `finished` is false where the sweep was stopped by a failure."""

    position: int | None = Field(default=None, ge=0)
    grace_seconds: float | None = Field(default=None, ge=0)
    mentioned: int | None = Field(default=None, ge=0)
    listed: int | None = Field(default=None, ge=0)
    listed_bytes: int | None = Field(default=None, ge=0)
    deleted: int | None = Field(default=None, ge=0)
    deleted_bytes: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, ge=0)
    finished: bool | None = None

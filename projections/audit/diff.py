"""RunDiff: what differs between one run at two points, or between two runs. Pure, but for the bodies, which
whoever asks fetches (`queries.py`)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from projections.audit.answers import Answer, Reference, Report, named_references, reports
from projections.audit.bodies import BodyChange
from projections.audit.history import RunHistory
from projections.fold.timeline import prompt_text
from projections.rows import ArtifactRow, AttemptRow, RunRow

_RUN_FIELDS = (
    "status",
    "pipeline",
    "prompt_pack_id",
    "prompt_pack_version",
    "prompt_pack_digest",
    "current_step",
    "failing_step",
    "error_category",
    "error_message",
    "summary",
)


class Side(Answer):
    """One of the two: a run as of a position."""

    run_id: str
    position: int
    version: int
    recorded_at: datetime
    status: str


class Change(Answer):
    """A field that differs: of run, its config (`config.model`) or its labels."""

    field: str
    a: Any
    b: Any


class ArtifactChange(Answer):
    """What stands under a name on either side, None where nothing does. `body` is there on request."""

    name: str
    a: Reference | None
    b: Reference | None
    body: BodyChange | None = None


class AttemptOutcome(Answer):
    """An attempt as a diff compares it: times and places left out, because they always differ."""

    ordinal: int
    status: str
    error_category: str | None
    error_message: str | None
    model: str | None
    prompt: str | None


class Verdict(Answer):
    """A validator's last word in a step."""

    validator: str
    passed: bool
    codes: list[str]


class StepSide(Answer):
    status: str
    duration_ms: int | None
    attempts: list[AttemptOutcome]
    reports: list[Verdict]
    repairs: int


class StepDiff(Answer):
    """A step that differs; `a` or `b` is None where that side has nothing of it. `differs` names what does:
    status, attempts, reports, repairs, outputs, artifacts."""

    step_id: str
    a: StepSide | None
    b: StepSide | None
    differs: list[str]
    outputs: list[ArtifactChange]
    artifacts: list[ArtifactChange]


class RunDiff(Answer):
    """`steps` holds those that differ, in order of their first event; `steps_equal` counts the others."""

    tenant_id: str
    a: Side
    b: Side
    equal: bool
    run: list[Change]
    inputs: list[ArtifactChange]
    outputs: list[ArtifactChange]
    steps: list[StepDiff]
    steps_equal: int


def diff_of(a: RunHistory, b: RunHistory) -> RunDiff:
    changes = list(_run_changes(a.run, b.run))
    inputs = _artifact_changes(_by_name(a.run.inputs), _by_name(b.run.inputs))
    outputs = _artifact_changes(named_references(a.run.outputs), named_references(b.run.outputs))
    step_ids = list(dict.fromkeys([*a.state.steps, *b.state.steps]))
    steps = [found for step_id in step_ids if (found := _step_diff(step_id, a, b)).differs]
    return RunDiff(
        tenant_id=a.tenant_id,
        a=_side(a),
        b=_side(b),
        equal=not (changes or inputs or outputs or steps),
        run=changes,
        inputs=inputs,
        outputs=outputs,
        steps=steps,
        steps_equal=len(step_ids) - len(steps),
    )


def artifact_changes(diff: RunDiff) -> Iterable[ArtifactChange]:
    """All of them, for whoever fetches their bodies."""
    yield from diff.inputs
    for step in diff.steps:
        yield from step.outputs
        yield from step.artifacts
    yield from diff.outputs


def _side(history: RunHistory) -> Side:
    assert history.last is not None
    return Side(
        run_id=history.run_id,
        position=history.last.position,
        version=history.last.version,
        recorded_at=history.last.recorded_at,
        status=history.run.status,
    )


def _run_changes(a: RunRow, b: RunRow) -> Iterable[Change]:
    for name in _RUN_FIELDS:
        one, other = getattr(a, name), getattr(b, name)
        if one != other:
            yield Change(field=name, a=one, b=other)
    for name in ("config", "labels"):
        one, other = _dict(getattr(a, name)), _dict(getattr(b, name))
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key) or (key in one) != (key in other):
                yield Change(field=f"{name}.{key}", a=one.get(key), b=other.get(key))


def _step_diff(step_id: str, a: RunHistory, b: RunHistory) -> StepDiff:
    one, other = _step_side(step_id, a), _step_side(step_id, b)
    outputs = _artifact_changes(_outputs(step_id, a), _outputs(step_id, b))
    artifacts = _artifact_changes(_artifacts(step_id, a), _artifacts(step_id, b))
    differs = [
        name
        for name in ("status", "attempts", "reports", "repairs")
        if (one and getattr(one, name)) != (other and getattr(other, name))
    ]
    differs += [name for name, found in (("outputs", outputs), ("artifacts", artifacts)) if found]
    return StepDiff(step_id=step_id, a=one, b=other, differs=differs, outputs=outputs, artifacts=artifacts)


def _step_side(step_id: str, history: RunHistory) -> StepSide | None:
    step = history.state.steps.get(step_id)
    if step is None:
        return None
    attempts = history.state.attempts.get(step_id, [])
    said = {
        report.validator: report for attempt in attempts for report in reports(attempt.validation_reports)
    }
    return StepSide(
        status=step.status,
        duration_ms=step.duration_ms,
        attempts=[_outcome(attempt) for attempt in attempts],
        reports=[_verdict(report) for report in said.values()],
        repairs=step.repairs,
    )


def _outcome(attempt: AttemptRow) -> AttemptOutcome:
    return AttemptOutcome(
        ordinal=attempt.ordinal,
        status=attempt.status,
        error_category=attempt.error_category,
        error_message=attempt.error_message,
        model=attempt.model,
        prompt=prompt_text(attempt.prompt),
    )


def _verdict(report: Report) -> Verdict:
    return Verdict(
        validator=report.validator, passed=report.passed, codes=[issue.code for issue in report.issues]
    )


def _outputs(step_id: str, history: RunHistory) -> dict[str, Reference]:
    step = history.state.steps.get(step_id)
    return named_references(step.outputs) if step else {}


def _artifacts(step_id: str, history: RunHistory) -> dict[str, Reference]:
    """The newest version of everything the step made that is none of its outputs."""
    named = {(ref.path, ref.digest) for ref in _outputs(step_id, history).values()}
    newest: dict[str, ArtifactRow] = {}
    for row in history.state.artifacts.values():
        if row.producer_step_id == step_id:
            newest[row.path] = row
    return {row.name: reference_of(row) for row in newest.values() if (row.path, row.digest) not in named}


def reference_of(row: ArtifactRow) -> Reference:
    return Reference.model_validate(
        {
            "path": row.path,
            "digest": row.digest,
            "content_type": row.content_type or "application/octet-stream",
            "size_bytes": row.size_bytes or 0,
            "created_at": row.created_at,
        }
    )


def _by_name(refs: Any) -> dict[str, Reference]:
    """Run inputs have no names; their files' do."""
    return {ref["path"].rsplit("/", 1)[-1]: Reference.model_validate(ref) for ref in refs or ()}


def _artifact_changes(a: Mapping[str, Reference], b: Mapping[str, Reference]) -> list[ArtifactChange]:
    return [
        ArtifactChange(name=name, a=a.get(name), b=b.get(name))
        for name in dict.fromkeys([*a, *b])
        if name not in a or name not in b or a[name].digest != b[name].digest
    ]


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if value else {}

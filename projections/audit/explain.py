"""StepExplanation: one step, attempt by attempt: what went in, how it failed, whether a machine may try it
again and why, what came out, what repairs changed, and who waited for it. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ledger.contract.errors import ErrorCategory
from ledger.contract.events import RecordedEvent
from ledger.contract.state import ValidationIssue
from ledger.contract.times import UtcTime
from ledger.errors import StepNotFound
from projections.audit.answers import (
    Answer,
    Failure,
    Reference,
    Report,
    failure,
    named_references,
    references,
    reports,
)
from projections.audit.bodies import BodyChange
from projections.audit.erasures import Erasure
from projections.audit.history import RunHistory, first_position, inputs_of
from projections.audit.near import did_you_mean
from projections.audit.timeline import Anomaly, span_of
from projections.fold.durations import milliseconds_between
from projections.fold.timeline import AttemptSpan
from projections.rows import AttemptRow, RunRow

_WHY = {
    ErrorCategory.RETRYABLE: "the failure is retryable: the same call may succeed later",
    ErrorCategory.NON_RETRYABLE: "the failure is non_retryable: the same call will fail again",
    ErrorCategory.VALIDATION_FAIL: "validation failed: it wants a repair, not a repetition",
}


class AttemptExplanation(Answer):
    """`may_retry` is for a machine, `why` for people; None where the attempt has not failed, or what it
    said was erased. Of a lost one `lost_by` says who noticed, `last_seen_at` when it was heard of last."""

    span: AttemptSpan
    error: Failure | None
    may_retry: bool | None
    why: str
    will_retry: bool | None
    retry_delay_ms: float | None
    timeout_seconds: float | None
    inputs: list[Reference]
    outputs: dict[str, Reference]
    reports: list[Report]
    usage: dict[str, Any] | None
    engine: dict[str, Any] | None
    traceparent: str | None
    lost_by: str | None
    last_seen_at: UtcTime | None


class Repair(Answer):
    """Who repaired it, and when, as the event says. `change` is what differs between the two bodies, on
    request."""

    position: int
    timestamp: UtcTime
    recorded_at: UtcTime
    actor: str | None
    attempt: int | None
    kind: str
    validator: str | None
    issues: list[ValidationIssue]
    note: str | None
    before: Reference
    after: Reference
    change: BodyChange | None = None


class Waiter(Answer):
    """A step that read what this one made. `waited_ms` is the time from the end of this step's attempt that
    made it to the start of the one that read it; None where either is unknown, or the clocks disagree."""

    step_id: str
    ordinal: int
    artifacts: list[str]
    started_at: datetime | None
    waited_ms: int | None


class StepExplanation(Answer):
    """`erased` names the step's events of which nothing can be told any more: repairs among them are in no
    other field."""

    tenant_id: str
    run_id: str
    step_id: str
    status: str
    prompt_pack: str | None
    prompt_pack_digest: str | None
    run_status: str
    attempts: list[AttemptExplanation]
    repairs: list[Repair]
    waiters: list[Waiter]
    anomalies: list[Anomaly]
    erased: list[Erasure]


def explanation_of(history: RunHistory, step_id: str, erased: Iterable[Erasure] = ()) -> StepExplanation:
    """Of what was erased of the run, that of the step is told. Raises StepNotFound."""
    step = history.state.steps.get(step_id)
    if step is None:
        raise no_step(history.run_id, step_id, history.state.steps)
    run = history.run
    return StepExplanation(
        tenant_id=history.tenant_id,
        run_id=history.run_id,
        step_id=step_id,
        status=step.status,
        prompt_pack=f"{run.prompt_pack_id} v{run.prompt_pack_version}" if run.prompt_pack_id else None,
        prompt_pack_digest=run.prompt_pack_digest,
        run_status=run.status,
        attempts=[_explained(row, run) for row in history.state.attempts.get(step_id, ())],
        repairs=[_repair(event) for event in history.repairs if event.step_id == step_id],
        waiters=list(_waiters(history, step_id)),
        anomalies=[Anomaly(row.code, row.message) for row in history.anomalies if row.step_id == step_id],
        erased=[found for found in erased if found.step_id == step_id],
    )


def no_step(run_id: str, step_id: str, steps: Iterable[str]) -> StepNotFound:
    names = list(steps)
    known = f"It has {', '.join(names[:10])}{' …' if len(names) > 10 else ''}" if names else "It has no steps"
    return StepNotFound(
        f"Run {run_id!r} has no step {step_id[:100]!r}", fix=did_you_mean(step_id, names, known)
    )


def _explained(row: AttemptRow, run: RunRow) -> AttemptExplanation:
    error = failure(row.error)
    return AttemptExplanation(
        span=span_of(row, run),
        error=error,
        may_retry=None if error is None else error.is_retryable(),
        why=_why(row, error),
        will_retry=row.will_retry,
        retry_delay_ms=row.retry_delay_ms,
        timeout_seconds=row.timeout_seconds,
        inputs=references(inputs_of(row)),
        outputs=named_references(row.outputs),
        reports=reports(row.validation_reports),
        usage=_mapping(row.usage),
        engine=_mapping(row.engine),
        traceparent=row.traceparent,
        lost_by=row.lost_by,
        last_seen_at=row.last_seen_at,
    )


def _why(row: AttemptRow, error: Failure | None) -> str:
    if error is not None:
        return _WHY[error.category]
    match row.status:
        case "succeeded":
            return "it succeeded"
        case "running":
            return "it is running, or ended without a word that anybody noticed yet"
        case "lost":
            return "it ended without a word: whether it did its work, nobody can say"
        case _:
            return "it failed, and what it said was erased: nobody may conclude anything"


def _repair(event: RecordedEvent) -> Repair:
    payload = event.payload or {}
    return Repair(
        position=event.position,
        timestamp=event.timestamp,
        recorded_at=event.recorded_at,
        actor=event.actor,
        attempt=event.attempt,
        kind=payload["kind"],
        validator=payload.get("validator"),
        issues=payload.get("issues", []),
        note=payload.get("note"),
        before=payload["before"],
        after=payload["after"],
    )


def _waiters(history: RunHistory, step_id: str) -> Iterable[Waiter]:
    made = {key: row for key, row in history.state.artifacts.items() if row.producer_step_id == step_id}
    for attempt in history.attempts:
        if attempt.step_id == step_id:
            continue
        read = [(ref["path"], ref["digest"]) for ref in inputs_of(attempt)]
        rows = [made[key] for key in read if key in made]
        if rows:
            makers = [maker for row in rows if (maker := history.maker_of(row)) is not None]
            yield Waiter(
                step_id=attempt.step_id,
                ordinal=attempt.ordinal,
                artifacts=[row.name for row in rows],
                started_at=attempt.started_at,
                waited_ms=_between(max(makers, key=first_position, default=None), attempt),
            )


def _between(maker: AttemptRow | None, reader: AttemptRow) -> int | None:
    if maker is None or maker.ended_at is None or reader.started_at is None:
        return None
    return milliseconds_between(maker.ended_at, reader.started_at)


def _mapping(value: Any) -> dict[str, Any] | None:
    return dict(value) if value else None

"""Timeline: what happened in a run, event by event, with what the fold finds odd about each."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from ledger.contract.events import EventType, RecordedEvent
from projections.fold import RunState, fold
from projections.fold.durations import milliseconds_between
from projections.rows import AnomalyRow, RunRow


class Anomaly(BaseModel):
    code: str
    message: str


class TimelineEntry(BaseModel):
    """One event. `duration_ms` stands on the end of an attempt or a run; `since_start_ms` is the
    time from the run's first event; `retryable` stands on failures."""

    position: int
    version: int
    event_type: str
    timestamp: datetime
    recorded_at: datetime
    since_start_ms: int | None
    step_id: str | None
    attempt: int | None
    actor: str | None
    summary: str
    duration_ms: int | None = None
    error_category: str | None = None
    retryable: bool | None = None
    erased: bool = False
    anomalies: list[Anomaly] = []


class Timeline(BaseModel):
    tenant_id: str
    run_id: str
    status: str
    pipeline: str | None
    prompt_pack_id: str | None
    prompt_pack_version: str | None
    prompt_pack_digest: str | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: int | None
    entries: list[TimelineEntry]


def timeline_of(tenant_id: str, run_id: str, events: Iterable[RecordedEvent]) -> Timeline:
    """Pure: the same events give the same timeline."""
    state = RunState(run_id)
    entries: list[TimelineEntry] = []
    first: datetime | None = None
    for event in events:
        first = first or event.timestamp
        fold(state, event)
        anomalies = [row for row in state.take_touched() if isinstance(row, AnomalyRow)]
        entries.append(_entry(state, event, first, anomalies))
    run = state.run or RunRow(run_id)
    return Timeline(
        tenant_id=tenant_id,
        run_id=run_id,
        status=run.status,
        pipeline=run.pipeline,
        prompt_pack_id=run.prompt_pack_id,
        prompt_pack_version=run.prompt_pack_version,
        prompt_pack_digest=run.prompt_pack_digest,
        started_at=run.started_at,
        ended_at=run.ended_at,
        duration_ms=run.duration_ms,
        entries=entries,
    )


def _entry(
    state: RunState, event: RecordedEvent, first: datetime, anomalies: list[AnomalyRow]
) -> TimelineEntry:
    payload = event.payload or {}
    error = payload.get("error") or {}
    category = error.get("category")
    return TimelineEntry(
        position=event.position,
        version=event.version,
        event_type=str(event.event_type),
        timestamp=event.timestamp,
        recorded_at=event.recorded_at,
        since_start_ms=milliseconds_between(first, event.timestamp),
        step_id=event.step_id,
        attempt=event.attempt,
        actor=event.actor,
        summary="payload erased" if event.is_erased else _summary(event.event_type, payload),
        duration_ms=_duration(state, event),
        error_category=category,
        retryable=None if category is None else category == "retryable",
        erased=event.is_erased,
        anomalies=[Anomaly(code=row.code, message=row.message) for row in anomalies],
    )


def _duration(state: RunState, event: RecordedEvent) -> int | None:
    if event.event_type in {EventType.STEP_SUCCEEDED, EventType.STEP_FAILED}:
        ended = [row for row in state.attempts[event.step_id or ""] if row.ended_position == event.position]
        return ended[-1].duration_ms if ended else None
    if event.event_type in {EventType.RUN_SUCCEEDED, EventType.RUN_FAILED, EventType.RUN_CANCELLED}:
        return state.run.duration_ms if state.run else None
    return None


def _summary(event_type: EventType | str, payload: dict[str, Any]) -> str:
    match event_type:
        case EventType.RUN_STARTED:
            pack = payload["prompt_pack"]
            return f"{payload.get('pipeline') or 'run'} with prompt pack {pack['pack_id']} v{pack['version']}"
        case EventType.STEP_SUCCEEDED | EventType.RUN_SUCCEEDED:
            return _names("outputs", payload.get("outputs"))
        case EventType.STEP_FAILED | EventType.RUN_FAILED:
            error = payload["error"]
            return f"{error['category']}: {error['message']}"
        case EventType.STEP_RETRYING:
            return f"after attempt {payload['previous_attempt']}" if "previous_attempt" in payload else ""
        case EventType.RUN_CANCELLED | EventType.PAYLOAD_ERASED:
            return str(payload.get("reason") or "")
        case EventType.REPAIR_APPLIED:
            change = f"{payload['before']['digest'][:8]} -> {payload['after']['digest'][:8]}"
            note = payload.get("note")
            return f"{payload['kind']}: {change}" + (f" ({note})" if note else "")
        case EventType.ARTIFACT_STORED:
            ref = payload["ref"]
            return f"{payload['name']} {ref['digest'][:8]} ({ref['size_bytes']} bytes)"
        case _:
            return ""


def _names(label: str, named: dict[str, Any] | None) -> str:
    return f"{label} {', '.join(sorted(named))}" if named else ""

"""Timeline: what happened in a run, event by event, with what the fold finds odd about each."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from ledger.contract.events import EventType, RecordedEvent
from projections.audit.erasures import Erasure, erasure_of
from projections.fold import RunState, fold
from projections.fold.durations import milliseconds_between
from projections.rows import AnomalyRow, RunRow


class Anomaly(BaseModel):
    code: str
    message: str


class TimelineEntry(BaseModel):
    """One event. `duration_ms` stands on the end of an attempt or a run; `since_start_ms` is the
    time from the run's first event; `retryable` stands on failures; `erased_at`, `_by` and `_reason` on
    events whose payload was erased."""

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
    erased_at: datetime | None = None
    erased_by: str | None = None
    erased_reason: str | None = None
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


def timeline_of(
    tenant_id: str,
    run_id: str,
    events: Iterable[RecordedEvent],
    erasure_records: Mapping[int, RecordedEvent] = MappingProxyType({}),
) -> Timeline:
    """Pure: the same events give the same timeline. `erasure_records` are those of erased events, by
    position."""
    state = RunState(run_id)
    entries: list[TimelineEntry] = []
    first: datetime | None = None
    for event in events:
        first = first or event.timestamp
        fold(state, event)
        anomalies = [row for row in state.take_touched() if isinstance(row, AnomalyRow)]
        record = erasure_records.get(event.position)
        entries.append(_entry(state, event, first, anomalies, record))
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
    state: RunState,
    event: RecordedEvent,
    first: datetime,
    anomalies: list[AnomalyRow],
    erasure_record: RecordedEvent | None,
) -> TimelineEntry:
    erasure = erasure_of(event, erasure_record) if event.is_erased else None
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
        summary=_summary(event.event_type, payload) if erasure is None else _erased(erasure),
        duration_ms=_duration(state, event),
        error_category=category,
        retryable=None if category is None else category == "retryable",
        erased=event.is_erased,
        erased_at=erasure and erasure.erased_at,
        erased_by=erasure and erasure.erased_by,
        erased_reason=erasure and erasure.erased_reason,
        anomalies=[Anomaly(code=row.code, message=row.message) for row in anomalies],
    )


def _duration(state: RunState, event: RecordedEvent) -> int | None:
    if event.event_type in {EventType.STEP_SUCCEEDED, EventType.STEP_FAILED}:
        ended = [row for row in state.attempts[event.step_id or ""] if row.ended_position == event.position]
        return ended[-1].duration_ms if ended else None
    if event.event_type in {EventType.RUN_SUCCEEDED, EventType.RUN_FAILED, EventType.RUN_CANCELLED}:
        return state.run.duration_ms if state.run else None
    return None


def _erased(erasure: Erasure) -> str:
    if erasure.erased_at is None:
        return "payload erased, and no record says by whom"
    return f"payload erased by {erasure.erased_by}: {erasure.erased_reason}"


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

"""One line about each event, for people."""

from collections.abc import Callable, Mapping
from typing import Any

from ledger.contract.events import EventType
from projections.fold.timeline import prompt_text

Payload = Mapping[str, Any]


def summary_of(event_type: str, payload: Payload) -> str:
    """Empty where nothing is to be said beside the type, or the payload was erased."""
    summary = _SUMMARIES.get(event_type)
    return summary(payload) if summary is not None and payload else ""


def _started(payload: Payload) -> str:
    pack = payload["prompt_pack"]
    return f"{payload.get('pipeline') or 'run'} with prompt pack {pack['pack_id']} v{pack['version']}"


def _step_started(payload: Payload) -> str:
    return start_summary(payload.get("model"), prompt_text(payload.get("prompt")))


def start_summary(model: str | None, prompt: str | None) -> str:
    if prompt is None:
        return model or ""
    return f"{model}, prompt {prompt}" if model else f"prompt {prompt}"


def _outputs(payload: Payload) -> str:
    named = payload.get("outputs")
    return outputs_summary(named) if named else ""


def outputs_summary(named: Payload) -> str:
    return f"outputs {', '.join(sorted(named))}"


def _failed(payload: Payload) -> str:
    error = payload["error"]
    return f"{error['category']}: {error['message']}"


def _retrying(payload: Payload) -> str:
    return f"after attempt {payload['previous_attempt']}" if "previous_attempt" in payload else ""


def _lost(payload: Payload) -> str:
    told = f"noticed by {payload['detected_by']}" if payload.get("detected_by") else ""
    seen = f"last seen {payload['last_seen']}" if payload.get("last_seen") else ""
    return ", ".join(filter(None, (told, seen)))


def _reason(payload: Payload) -> str:
    return str(payload.get("reason") or "")


def _cancelled(payload: Payload) -> str:
    by = f"by {payload['by']}" if payload.get("by") else ""
    return ": ".join(filter(None, (by, _reason(payload))))


def _repaired(payload: Payload) -> str:
    note = payload.get("note")
    before, after = payload["before"], payload["after"]
    one, other = before["path"].rsplit("/", 1)[-1], after["path"].rsplit("/", 1)[-1]
    other = "" if one == other else f"{other} "
    change = f"{one} {before['digest'][:8]} -> {other}{after['digest'][:8]}"
    return f"{payload['kind']}: {change}" + (f" ({note})" if note else "")


def stored_summary(payload: Payload) -> str:
    ref = payload["ref"]
    return f"{payload['name']} {ref['digest'][:8]} ({ref['size_bytes']} bytes)"


_SUMMARIES: Mapping[str, Callable[[Payload], str]] = {
    EventType.RUN_STARTED: _started,
    EventType.RUN_SUCCEEDED: _outputs,
    EventType.RUN_FAILED: _failed,
    EventType.RUN_CANCELLED: _cancelled,
    EventType.STEP_STARTED: _step_started,
    EventType.STEP_SUCCEEDED: _outputs,
    EventType.STEP_FAILED: _failed,
    EventType.STEP_RETRYING: _retrying,
    EventType.STEP_LOST: _lost,
    EventType.REPAIR_APPLIED: _repaired,
    EventType.ARTIFACT_STORED: stored_summary,
    EventType.PAYLOAD_ERASED: _reason,
}

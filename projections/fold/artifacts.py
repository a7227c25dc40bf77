"""What events say about artifacts: which versions of which paths there are, and from where."""

from collections.abc import Iterable
from typing import Any

from ledger.contract.events import RecordedEvent
from projections.fold.state import RunState
from projections.fold.times import utc_time
from projections.rows import ArtifactRow


def stored(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    run = state.the_run(event)
    if run.status == "not_started":
        state.anomaly(event, "artifact_before_run", "an artifact was stored before any run.started")
    if ref := payload.get("ref"):
        _produced(state, event, _note(state, event, ref, "stored", payload.get("name")))


def repaired(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    before, after = payload.get("before"), payload.get("after")
    state.the_run(event).repairs += 1
    if event.step_id is not None:
        state.step(event).repairs += 1
    if before and after:
        _note_repair(state, event, before, after, payload.get("kind"))
    state.audit(
        event,
        subject=after["path"] if after else None,
        reason=payload.get("note"),
        details={key: payload[key] for key in ("kind", "validator", "before", "after") if key in payload},
    )


def note_inputs(state: RunState, event: RecordedEvent, refs: Iterable[dict[str, Any]] | None) -> None:
    """The event's step had them as inputs; where it has none, they were given to the run."""
    for ref in refs or ():
        row = _note(state, event, ref, "input")
        consumers: Any = row.consumers or []
        if event.step_id is not None and event.step_id not in consumers:
            row.consumers = [*consumers, event.step_id]  # type: ignore[assignment]
            state.touch(row)


def note_outputs(state: RunState, event: RecordedEvent, refs: dict[str, dict[str, Any]] | None) -> None:
    """What was an input before and is handed on was not produced here."""
    for ref in (refs or {}).values():
        _note(state, event, ref, "output")


def _note_repair(
    state: RunState, event: RecordedEvent, before: dict[str, Any], after: dict[str, Any], kind: str | None
) -> None:
    if before["digest"] not in state.digests:
        state.anomaly(event, "repair_of_unknown", f"{before['path']} was not recorded before its repair")
    broken = _note(state, event, before, "input")
    repaired = _note(state, event, after, "repair")
    if broken is repaired or broken.digest == repaired.digest:
        state.anomaly(event, "repair_changed_nothing", "before and after have the same digest")
        return
    if repaired.repaired_from is None:
        repaired.repaired_from = broken.digest
        repaired.repair_kind = kind
    broken.repaired_into = repaired.digest
    _produced(state, event, repaired)
    state.touch(broken)
    state.touch(repaired)


def _produced(state: RunState, event: RecordedEvent, row: ArtifactRow) -> None:
    if row.producer_step_id is None and event.step_id is not None:
        row.producer_step_id, row.producer_attempt = event.step_id, event.attempt
        state.touch(row)


def _note(
    state: RunState, event: RecordedEvent, ref: dict[str, Any], origin: str, name: str | None = None
) -> ArtifactRow:
    """The row of this version of this path, made where this is the first word of it."""
    path, digest = ref["path"], ref["digest"]
    row = state.artifacts.get((path, digest))
    if row is not None:
        return row
    version = state.path_versions.get(path, 0) + 1
    state.path_versions[path] = version
    state.digests.add(digest)
    is_given = origin == "input"
    row = ArtifactRow(
        state.run_id,
        path,
        digest,
        version,
        origin,
        name or path.rsplit("/", 1)[-1],
        ref.get("content_type"),
        ref.get("size_bytes"),
        utc_time(ref["created_at"]),
        None if is_given else event.step_id,
        None if is_given else event.attempt,
        first_position=event.position,
    )
    state.artifacts[path, digest] = row
    state.the_run(event).artifacts += 1
    state.touched[id(row)] = row
    return row

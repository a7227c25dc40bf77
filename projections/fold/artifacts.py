"""What events say about artifacts: which versions of which paths there are, and from where."""

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from ledger.contract.events import RecordedEvent
from ledger.contract.times import UtcTime
from projections.fold.state import RunState
from projections.rows import ArtifactRow

_TIME = TypeAdapter(UtcTime)


def stored(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    run = state.the_run(event)
    if run.status == "not_started":
        state.anomaly(event, "artifact_before_run", "an artifact was stored before any run.started")
    if ref := payload.get("ref"):
        _note(state, event, ref, "stored", name=payload.get("name"))


def repaired(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    before, after = payload.get("before"), payload.get("after")
    state.the_run(event).repairs += 1
    if event.step_id is not None:
        state.step(event).repairs += 1
    if before and after:
        if before["digest"] not in state.digests:
            state.anomaly(event, "repair_of_unknown", f"{before['path']} was not recorded before its repair")
        if before["digest"] == after["digest"]:
            state.anomaly(event, "repair_changed_nothing", "before and after have the same digest")
        _note(state, event, before, "input")
        _note(state, event, after, "repair", repaired_from=before["digest"])
    state.audit(
        event,
        subject=after["path"] if after else None,
        reason=payload.get("note"),
        details={key: payload[key] for key in ("kind", "validator", "before", "after") if key in payload},
    )


def note_refs(
    state: RunState, event: RecordedEvent, refs: Iterable[dict[str, Any]] | None, origin: str
) -> None:
    for ref in refs or ():
        _note(state, event, ref, origin)


def _note(
    state: RunState,
    event: RecordedEvent,
    ref: dict[str, Any],
    origin: str,
    *,
    name: str | None = None,
    repaired_from: str | None = None,
) -> None:
    path, digest = ref["path"], ref["digest"]
    row = state.artifacts.get((path, digest))
    if row is not None:
        if repaired_from is not None and row.repaired_from is None and repaired_from != digest:
            row.repaired_from = repaired_from
            state.touch(row)
        return
    version = state.path_versions.get(path, 0) + 1
    state.path_versions[path] = version
    state.digests.add(digest)
    row = ArtifactRow(
        run_id=state.run_id,
        path=path,
        digest=digest,
        version=version,
        origin=origin,
        step_id=event.step_id,
        attempt=event.attempt,
        name=name or path.rsplit("/", 1)[-1],
        content_type=ref.get("content_type"),
        size_bytes=ref.get("size_bytes"),
        created_at=_TIME.validate_python(ref["created_at"]),
        repaired_from=repaired_from,
        first_position=event.position,
    )
    state.artifacts[path, digest] = row
    state.the_run(event).artifacts += 1
    state.touch(row)

"""OpenLineage 2-0-2: a run's events and its attempts', with what they read and made, from the fold.

A run and each of its attempts is an OpenLineage run (its runId a uuid5, so that exporting again gives the
same ones); their jobs are the pipeline and `pipeline.step`. Each has a START and, once it has ended, one of
COMPLETE, FAIL and ABORT (lost or cancelled), as of the end of what is exported: an attempt that was given up
for lost and reported success afterwards has the COMPLETE alone. Artifacts are datasets, their digests
versions of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from operator import itemgetter
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ledger.contract.events import EventType, RecordedEvent
from ledger.contract.times import rfc3339
from projections.fold import RunState, fold
from projections.rows import ArtifactRow, AttemptRow, RunRow

SCHEMA_URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER = f"urn:daicho:{version('daicho')}"
_FACETS = "https://openlineage.io/spec/facets"
_SCHEMAS = {
    "parent": f"{_FACETS}/1-0-1/ParentRunFacet.json#/$defs/ParentRunFacet",
    "errorMessage": f"{_FACETS}/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet",
    "jobType": f"{_FACETS}/2-0-3/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
    "version": f"{_FACETS}/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
    "daicho": "urn:daicho:facet:run:1",
}
_ENDS = {"succeeded": "COMPLETE", "failed": "FAIL", "cancelled": "ABORT", "lost": "ABORT"}
_RUN_ENDS = frozenset({EventType.RUN_SUCCEEDED, EventType.RUN_FAILED, EventType.RUN_CANCELLED})

Ref = Mapping[str, Any]
Told = tuple[int, dict[str, Any]]
"""A position, and the OpenLineage event that happened there."""


class RunTrace:
    """A run as the fold leaves it, and when and where its last start, its end and losses were recorded."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.state = RunState(run_id)
        self.started_position: int | None = None
        self.ended_position: int | None = None
        self.times: dict[int, datetime] = {}

    def fold(self, event: RecordedEvent) -> None:
        fold(self.state, event)
        self.state.touched.clear()
        if event.event_type is EventType.RUN_STARTED:
            self.started_position, self.ended_position = event.position, None
        elif event.event_type in _RUN_ENDS:
            self.ended_position = event.position
        self.times[event.position] = event.timestamp


class RunTraces:
    """daicho's own fold, stream by stream, with the times of events (a StreamFold)."""

    def new_state(self, run_id: str) -> RunTrace:
        return RunTrace(run_id)

    def fold(self, state: RunTrace, event: RecordedEvent) -> None:
        state.fold(event)


def facet_schemas() -> list[str]:
    """The address of each facet's schema."""
    return list(_SCHEMAS.values())


def run_events(tenant_id: str, trace: RunTrace) -> list[Told]:
    """Of one run and its attempts, in order of position; of a reserved stream none."""
    run = trace.state.run
    if run is None or not trace.state.is_of_run:
        return []
    told = [*_of_run(tenant_id, trace, run)]
    made = defaultdict(list)
    for artifact in trace.state.artifacts.values():
        made[artifact.producer_step_id, artifact.producer_attempt].append(artifact)
    for of_step in trace.state.attempts.values():
        for attempt in of_step:
            # Whoever stored a body may have named no attempt: then it is the one that ran meanwhile.
            stored = [*made[attempt.step_id, attempt.attempt], *made[attempt.step_id, None]]
            told += _of_attempt(tenant_id, trace, run, attempt, stored)
    return sorted(told, key=itemgetter(0))


def _of_run(tenant_id: str, trace: RunTrace, run: RunRow) -> Iterator[Told]:
    started, ended = trace.started_position, trace.ended_position
    job = _job(tenant_id, _pipeline(run), "RUN")
    facets: dict[str, Any] = {}
    if run.parent_run_id is not None:
        # Its pipeline stands in its own events, which may not be exported; its id leads there.
        parent_job = {"namespace": _namespace(tenant_id), "name": run.parent_run_id}
        facets["parent"] = _parent(_run_uuid(tenant_id, run.parent_run_id), parent_job)
    told = {"run_id": run.run_id, "prompt_pack_id": run.prompt_pack_id}
    told |= {"prompt_pack_version": run.prompt_pack_version, "prompt_pack_digest": run.prompt_pack_digest}
    uuid = _run_uuid(tenant_id, run.run_id)
    begun = started if started is not None else ended
    inputs = _datasets(tenant_id, run.inputs)
    if begun is not None:
        facets["daicho"] = _daicho(told, begun)
        yield begun, _event("START", trace.times[begun], uuid, facets, job, inputs, [])
    if ended is not None:
        facets = {**facets, "daicho": _daicho(told, ended), **_error(run.error_message)}
        made = _datasets(tenant_id, _values(run.outputs))
        yield ended, _event(_ENDS[run.status], trace.times[ended], uuid, facets, job, inputs, made)


def _of_attempt(
    tenant_id: str, trace: RunTrace, run: RunRow, row: AttemptRow, stored: Iterable[ArtifactRow]
) -> Iterator[Told]:
    """`stored` is what was made under the attempt's number, which an engine may have given before."""
    uuid = str(uuid5(NAMESPACE_URL, f"daicho:{tenant_id}/{run.run_id}/{row.step_id}/{row.ordinal}"))
    job = _job(tenant_id, f"{_pipeline(run)}.{row.step_id}", "STEP")
    parent_job = {"namespace": _namespace(tenant_id), "name": _pipeline(run)}
    parent = _parent(_run_uuid(tenant_id, run.run_id), parent_job)
    told = {"run_id": run.run_id, "step_id": row.step_id, "ordinal": row.ordinal, "attempt": row.attempt}
    told |= {"actor": row.actor, "model": row.model, "prompt": row.prompt}
    inputs = _datasets(tenant_id, [*_list(row.inputs), *_list(row.inputs_read)])
    begun = row.started_position or row.ended_position
    assert begun is not None, "an attempt is known by its start or its end"
    facets = {"parent": parent, "daicho": _daicho(told, begun)}
    yield begun, _event("START", trace.times[begun], uuid, facets, job, inputs, [])
    if row.ended_position is not None:
        facets = {"parent": parent, "daicho": _daicho(told, row.ended_position), **_error(row.error_message)}
        made = _datasets(tenant_id, [*_values(row.outputs), *_within(stored, begun, row.ended_position)])
        at = trace.times[row.ended_position]
        yield row.ended_position, _event(_ENDS[row.status], at, uuid, facets, job, inputs, made)


def _event(
    kind: str,
    at: datetime,
    run_uuid: str,
    facets: dict[str, Any],
    job: dict[str, Any],
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": rfc3339(at),
        "run": {"runId": run_uuid, "facets": facets},
        "job": job,
        "inputs": inputs,
        "outputs": outputs,
        "producer": PRODUCER,
        "schemaURL": SCHEMA_URL,
    }


def _within(stored: Iterable[ArtifactRow], begun: int, ended: int) -> list[Ref]:
    return [
        {"path": artifact.path, "digest": artifact.digest}
        for artifact in stored
        if begun <= artifact.first_position <= ended
    ]


def _datasets(tenant_id: str, refs: Any) -> list[dict[str, Any]]:
    """Each path and digest once."""
    named = {(ref["path"], ref["digest"]): None for ref in refs or ()}
    return [
        {
            "namespace": _namespace(tenant_id),
            "name": path,
            "facets": {"version": _facet("version", datasetVersion=digest)},
        }
        for path, digest in named
    ]


def _job(tenant_id: str, name: str, kind: str) -> dict[str, Any]:
    said = _facet("jobType", processingType="BATCH", integration="DAICHO", jobType=kind)
    return {"namespace": _namespace(tenant_id), "name": name, "facets": {"jobType": said}}


def _parent(run_uuid: str, job: dict[str, str]) -> dict[str, Any]:
    return _facet("parent", run={"runId": run_uuid}, job=job)


def _error(message: str | None) -> dict[str, Any]:
    if message is None:
        return {}
    return {"errorMessage": _facet("errorMessage", message=message, programmingLanguage="python")}


def _daicho(told: Mapping[str, Any], position: int) -> dict[str, Any]:
    known = {name: value for name, value in told.items() if value is not None}
    return _facet("daicho", position=position, **known)


def _facet(name: str, **fields: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": _SCHEMAS[name], **fields}


def _namespace(tenant_id: str) -> str:
    return f"daicho://{tenant_id}"


def _run_uuid(tenant_id: str, run_id: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"daicho:{tenant_id}/{run_id}"))


def _pipeline(run: RunRow) -> str:
    return run.pipeline or "run"


def _list(value: Any) -> list[Ref]:
    return list(value or ())


def _values(named: Any) -> Iterable[Ref]:
    return (named or {}).values()

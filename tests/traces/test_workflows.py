"""Real workflows, replayed through the public interface: what the ledger shows is what the files say."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from workflow_trace import (
    BEGINNING,
    GIVEN,
    SHARED,
    Task,
    Workflow,
    body_of,
    file_of,
    legal_name,
)

from ledger import ArtifactRef, Event, EventType, Tenant
from projections import rebuild, verify
from projections.audit import AuditQueries

TRACES = ["rnaseq-dirt02-001", "blast-chameleon-medium-001", "1000genome-chameleon-8ch-100k-001"]
SIZES = {TRACES[0]: (197, 680), TRACES[1]: (303, 907), TRACES[2]: (208, 232)}
PUTS_AT_ONCE = 16
REFERENCES_MAX = 160
"""References that are sure to fit into one payload of 64 KiB. Tasks of these workflows read or make up to
302 files: what a start cannot name is named as read at the end, and outputs beyond it are told by their
artifact.stored alone."""
Refs = dict[str, ArtifactRef]


@pytest.fixture(params=TRACES)
def workflow(request: pytest.FixtureRequest) -> Workflow:
    path: Path = SHARED / f"{request.param}.json"
    if not path.exists():
        pytest.skip(f"the trace {path} is not on this machine: traces are no part of the repository")
    return Workflow.read(path)


async def _replay(tenant: Tenant, workflow: Workflow) -> Refs:
    """The run as it would have been recorded: files first, then its events in order of their times."""
    run_id = workflow.name
    pack = await tenant.prompts.load("mock_pack")
    at_once = asyncio.Semaphore(PUTS_AT_ONCE)

    def event(event_type: EventType, at: object, step: str | None = None, **payload: object) -> Event:
        return Event(
            event_type=event_type,
            run_id=run_id,
            step_id=step,
            attempt=1 if step else None,
            tenant_id=tenant.tenant_id,
            timestamp=BEGINNING + at,  # type: ignore[operator]
            payload=payload,
        )

    async def put(file: str) -> tuple[str, ArtifactRef]:
        step = workflow.maker.get(file, GIVEN)
        path = f"storage/{tenant.tenant_id}/{run_id}/{step}/{legal_name(file)}"
        async with at_once:
            return file, await tenant.artifacts.put(body_of(file), path, "text/plain")

    zero = BEGINNING - BEGINNING
    await tenant.emitter.emit(
        event(EventType.RUN_STARTED, zero, prompt_pack=pack.identity(), pipeline=workflow.name)
    )
    refs = dict(await asyncio.gather(*(put(file) for file in workflow.files)))

    def started(task: Task) -> Event:
        inputs = _references(refs, task.inputs[:REFERENCES_MAX])
        return event(EventType.STEP_STARTED, workflow.starts[task.task_id], task.task_id, inputs=inputs)

    def succeeded(task: Task) -> Event:
        named = task.outputs if len(task.outputs) <= REFERENCES_MAX else ()
        return event(
            EventType.STEP_SUCCEEDED,
            workflow.ends[task.task_id],
            task.task_id,
            inputs_read=_references(refs, task.inputs[REFERENCES_MAX:]),
            outputs=dict(zip(named, _references(refs, named), strict=True)),
        )

    for make in _in_order_of_time(workflow, started, succeeded):
        await tenant.emitter.emit(make)
    last = max(workflow.ends.values())
    finished = await tenant.emitter.emit(event(EventType.RUN_SUCCEEDED, last))
    await tenant.wait_projected(finished.position)
    return refs


def _references(refs: Refs, files: Sequence[str]) -> list[dict[str, Any]]:
    return [refs[file].model_dump(mode="json") for file in files]


def _in_order_of_time(
    workflow: Workflow, started: Callable[[Task], Event], succeeded: Callable[[Task], Event]
) -> list[Event]:
    # A task that takes no time starts and ends at one moment; a parent's end comes before its child's start.
    rank = {task_id: number for number, task_id in enumerate(workflow.order)}
    moments = [
        moment
        for task in workflow.tasks.values()
        for moment in (
            (workflow.starts[task.task_id], rank[task.task_id], 0, started(task)),
            (workflow.ends[task.task_id], rank[task.task_id], 1, succeeded(task)),
        )
    ]
    return [moment[3] for moment in sorted(moments, key=lambda moment: moment[:3])]


async def test_a_replayed_workflow_is_what_its_file_says(workflow: Workflow, tenant: Tenant) -> None:
    refs = await _replay(tenant, workflow)
    tasks, files = workflow.tasks, workflow.files
    assert (len(tasks), len(files)) == SIZES[workflow.name]

    # Counts and states
    [run] = await tenant.reader.fetch("SELECT * FROM projection.runs")
    assert (run["run_id"], run["status"], run["pipeline"]) == (workflow.name, "succeeded", workflow.name)
    assert (run["steps"], run["attempts"], run["artifacts"]) == (len(tasks), len(tasks), len(files))
    assert (run["failures"], run["retries"], run["repairs"], run["anomalies"]) == (0, 0, 0, 0)
    events = await tenant.store.read_run(workflow.name)
    assert len(events) == 2 + 2 * len(tasks) + len(files)
    assert [event.version for event in events] == list(range(1, len(events) + 1))

    # Times
    assert run["started_at"] == BEGINNING
    assert run["ended_at"] - run["started_at"] == workflow.critical_path()
    assert run["duration_ms"] == workflow.critical_path() // (workflow.critical_path().resolution * 1_000)
    steps = {row["step_id"]: row for row in await tenant.reader.fetch("SELECT * FROM projection.steps")}
    assert steps.keys() == tasks.keys()
    for task_id, task in tasks.items():
        step = steps[task_id]
        assert step["status"] == "succeeded"
        assert step["ended_at"] - step["started_at"] == task.runtime
        assert step["duration_ms"] == task.runtime_ms
        assert all(steps[parent]["ended_at"] <= step["started_at"] for parent in task.parents)

    # Files
    rows = await tenant.reader.fetch("SELECT * FROM projection.artifacts")
    named = {file_of(row["name"]): row for row in rows}
    assert named.keys() == set(files)
    readers = {file: {task.task_id for task in tasks.values() if file in task.inputs} for file in files}
    for file in files:
        assert named[file]["digest"] == refs[file].digest
        assert named[file]["producer_step_id"] == workflow.maker.get(file, GIVEN)
        assert set(orjson.loads(named[file]["consumers"] or "[]")) == readers[file]
        assert (named[file]["origin"], named[file]["version"]) == ("stored", 1)
        assert named[file]["size_bytes"] == len(body_of(file))
    for file in files[:: len(files) // 10]:
        assert await tenant.artifacts.get(refs[file]) == body_of(file)

    # Lineage
    made, read = await _edges(tenant)
    assert made == {refs[file].path: maker for file, maker in workflow.maker.items()}
    assert {step: sorted(paths) for step, paths in read.items()} == {
        task_id: sorted(refs[file].path for file in task.inputs)
        for task_id, task in tasks.items()
        if task.inputs
    }
    assert await _outputs(tenant) == {
        task_id: {refs[file].path for file in task.outputs}
        for task_id, task in tasks.items()
        if 0 < len(task.outputs) <= REFERENCES_MAX
    }
    by_path = {ref.path: file for file, ref in refs.items()}
    for file in (*files[:: len(files) // 20], files[-1]):
        assert {by_path[path] for path in _origins(refs[file].path, made, read)} == workflow.origins(file)
    await _compare_lineage(AuditQueries(tenant), workflow, refs)

    # And all of it again from the events
    before = await verify(tenant)
    assert before.ok, [str(found) for found in before.differences]
    rebuilt = await rebuild(tenant)
    assert rebuilt.digests == {name: table.live_digest for name, table in before.tables.items()}


async def _compare_lineage(audit: AuditQueries, workflow: Workflow, refs: Refs) -> None:
    """What the audit tells of a file, by path or digest, up and down, is what the task graph says."""
    by_path = {ref.path: file for file, ref in refs.items()}
    for file in (*workflow.files[:: len(workflow.files) // 3], workflow.files[-1]):
        up = await audit.lineage(refs[file].path, direction="up")
        assert {by_path[node.path] for node in up.artifacts} == {file} | workflow.origins(file)
        makers = {workflow.maker.get(name) for name in {file} | workflow.origins(file)} - {None}
        assert {node.step_id for node in up.attempts} == makers
        down = await audit.lineage(refs[file].digest, direction="down")
        came_of_it = {name for name in workflow.files if file in workflow.origins(name)}
        assert {by_path[node.path] for node in down.artifacts} == {file} | came_of_it
        assert (up.truncated, down.truncated) == (None, None)


async def _edges(tenant: Tenant) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Which step made each path, as the artifacts say, and what each step read, as its attempts say."""
    stored = await tenant.reader.fetch(
        "SELECT path, producer_step_id FROM projection.artifacts WHERE producer_step_id <> $1", GIVEN
    )
    attempts = await tenant.reader.fetch(
        "SELECT a.step_id, array_agg(i ->> 'path') AS read FROM projection.attempts a, "
        "LATERAL (SELECT json_array_elements(a.inputs) "
        "         UNION ALL SELECT json_array_elements(a.inputs_read)) named (i) GROUP BY a.step_id"
    )
    made = {row["path"]: row["producer_step_id"] for row in stored}
    return made, {row["step_id"]: row["read"] for row in attempts}


async def _outputs(tenant: Tenant) -> dict[str, set[str]]:
    """Which paths each step named as its outputs when it ended."""
    rows = await tenant.reader.fetch(
        "SELECT a.step_id, array_agg(o.value ->> 'path') AS made "
        "FROM projection.attempts a, json_each(a.outputs) o GROUP BY a.step_id"
    )
    return {row["step_id"]: set(row["made"]) for row in rows}


def _origins(path: str, made: dict[str, str], read: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [path]
    while waiting:
        for source in read.get(made.get(waiting.pop(), ""), []):
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found


def test_the_names_of_files_come_back_from_their_legal_names(workflow: Workflow) -> None:
    names = [legal_name(file) for file in workflow.files]
    assert [file_of(name) for name in names] == list(workflow.files)
    assert not any("/" in name for name in names)
    assert len(set(names)) == len(names)

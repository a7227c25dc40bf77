"""Lineages of real workflows, whole: every file, up and down, through repairs and across runs, held to the
task graph."""

import asyncio
from pathlib import Path

import pytest
from workflow_trace import GIVEN, SHARED, Task, Workflow, body_of, legal_name

from ledger import ArtifactRef, Event, EventType, Tenant
from projections.audit import AuditQueries, Lineage

TRACE = "blast-chameleon-medium-001"
RUNS = ("first", "second")
REPAIRED_EVERY = 7
"""Each seventh file that a task made came out broken first."""
ASKED_EVERY = 5
REFERENCES_MAX = 160  # that are sure to fit into one payload

Refs = dict[str, ArtifactRef]


@pytest.fixture
def workflow() -> Workflow:
    path: Path = SHARED / f"{TRACE}.json"
    if not path.exists():
        pytest.skip(f"the trace {path} is not on this machine: traces are no part of the repository")
    return Workflow.read(path)


class Recorded:
    """The workflow's tasks dealt out to two runs in turn, so that its edges lead from each to the other."""

    def __init__(self, tenant: Tenant, workflow: Workflow) -> None:
        self.tenant, self.workflow = tenant, workflow
        self.run_of = {task: RUNS[number % 2] for number, task in enumerate(workflow.order)}
        made = [name for name in workflow.files if name in workflow.maker]
        self.repaired = set(made[::REPAIRED_EVERY])
        self.refs: Refs = {}
        self.broken: Refs = {}

    async def record(self) -> None:
        pack = (await self.tenant.prompts.load("mock_pack")).identity()
        for run_id in RUNS:
            await self._emit(EventType.RUN_STARTED, run_id, prompt_pack=pack)
        given = [name for name in self.workflow.files if name not in self.workflow.maker]
        self.refs |= dict(zip(given, await asyncio.gather(*map(self._put, given)), strict=True))
        for task_id in self.workflow.order:
            await self._record_task(self.workflow.tasks[task_id])
        last = [await self._emit(EventType.RUN_SUCCEEDED, run_id) for run_id in RUNS][-1]
        await self.tenant.wait_projected(last)

    async def _record_task(self, task: Task) -> None:
        run_id, step = self.run_of[task.task_id], task.task_id
        inputs = [self.refs[name].model_dump(mode="json") for name in task.inputs]
        first, others = inputs[:REFERENCES_MAX], inputs[REFERENCES_MAX:]
        await self._emit(EventType.STEP_STARTED, run_id, step, inputs=first)
        for name in task.outputs:
            if name in self.repaired:
                self.broken[name] = await self._put(name, b"broken ")
            self.refs[name] = await self._put(name)
            if name in self.repaired:
                pair = {"before": self.broken[name], "after": self.refs[name]}
                change = {side: ref.model_dump(mode="json") for side, ref in pair.items()}
                await self._emit(EventType.REPAIR_APPLIED, run_id, step, kind="mended", **change)
        await self._emit(EventType.STEP_SUCCEEDED, run_id, step, inputs_read=others)

    async def _put(self, name: str, prefix: bytes = b"") -> ArtifactRef:
        step = self.workflow.maker.get(name, GIVEN)
        run_id = self.run_of.get(step, RUNS[0])
        path = f"storage/{self.tenant.tenant_id}/{run_id}/{step}/{legal_name(name)}"
        return await self.tenant.artifacts.put(prefix + body_of(name), path, "text/plain")

    async def _emit(
        self, event_type: EventType, run_id: str, step: str | None = None, **payload: object
    ) -> int:
        event = Event(
            event_type=event_type,
            run_id=run_id,
            step_id=step,
            attempt=1 if step else None,
            tenant_id=self.tenant.tenant_id,
            payload=payload,
        )
        return (await self.tenant.emitter.emit(event)).position


async def test_every_lineage_is_the_task_graph_through_repairs_and_across_runs(
    workflow: Workflow, tenant: Tenant
) -> None:
    recorded = Recorded(tenant, workflow)
    await recorded.record()
    audit = AuditQueries(tenant)
    origins = {name: workflow.origins(name) for name in workflow.files}
    crossed = 0
    for name in workflow.files[::ASKED_EVERY]:
        ref = recorded.refs[name]
        up = await audit.lineage(ref.path, direction="up")
        makers = {workflow.maker[file] for file in {name} | origins[name] if file in workflow.maker}
        _assert_is_of(recorded, up, {name} | origins[name], {name} | origins[name], makers)
        crossed += len({node.run_id for node in up.attempts}) > 1

        came_of_it = {other for other in workflow.files if name in origins[other]}
        down = await audit.lineage(ref.digest, direction="down")
        reading = {task.task_id for task in workflow.tasks.values() if {name, *came_of_it} & {*task.inputs}}
        _assert_is_of(recorded, down, {name} | came_of_it, came_of_it, reading)
        readers = {task.task_id for task in workflow.tasks.values() if name in task.inputs}
        assert set(down.used_by) == {recorded.run_of[task] for task in readers}
    assert crossed > 10
    for name, broken in list(recorded.broken.items())[::3]:
        down = await audit.lineage(broken.digest, direction="down")
        [mended] = [edge for edge in down.edges if edge.kind == "repaired" and edge.source == down.start[0]]
        assert (mended.repair, mended.target) == (
            "mended",
            f"{recorded.refs[name].path}@{recorded.refs[name].digest}",
        )


def _assert_is_of(
    recorded: Recorded, found: Lineage, files: set[str], repaired: set[str], tasks: set[str]
) -> None:
    """Artifacts are those of `files`, and what was broken of `repaired`; attempts those of the `tasks`."""
    mended = repaired & recorded.repaired
    expected = {recorded.refs[name].digest for name in files}
    expected |= {recorded.broken[name].digest for name in mended}
    assert {node.digest for node in found.artifacts} == expected
    steps = {(recorded.run_of[task], task) for task in tasks}
    assert {(node.run_id, node.step_id) for node in found.attempts} == steps
    assert len([edge for edge in found.edges if edge.kind == "repaired"]) == len(mended)
    assert found.truncated is None

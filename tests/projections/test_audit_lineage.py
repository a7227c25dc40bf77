"""Lineage: what an artifact was made from and what was made from it, through repairs and across runs."""

import pytest
from builder import RUN, TENANT, History, ref
from event_strategies import recorded_histories
from hypothesis import given

from ledger import ArtifactRef, EventType, Tenant
from ledger.cli.answers.lineage import lineage_dot, lineage_view
from ledger.errors import ArtifactNotFound
from projections.audit import AuditQueries, Lineage
from projections.audit.history import RunHistory
from projections.audit.lineage import LineageGraph, artifact_id


def _graph(history: History, run_id: str = RUN) -> LineageGraph:
    graph = LineageGraph()
    graph.add(RunHistory.of(TENANT, run_id, [event for event in history.events if event.run_id == run_id]))
    return graph


def _id(reference: dict[str, str]) -> str:
    return artifact_id(reference["path"], reference["digest"])


def test_attempts_read_and_make_and_repairs_join_before_and_after() -> None:
    outline, broken, whole = (
        ref("outline.json", step="outline"),
        ref("draft.json", "{"),
        ref("draft.json", "{}"),
    )
    graph = _graph(
        History()
        .run_started(inputs=[ref("brief.md", step="given")])
        .step_started(inputs=[outline])
        .stored(broken)
        .repaired(broken, whole, note="closed")
        .step_succeeded(outputs={"output": whole})
    )
    attempt = f"attempt:{RUN}/draft/1"
    assert {(edge.source, edge.kind) for edge in graph.before[_id(whole)].values()} == {
        (attempt, "made"),
        (_id(broken), "repaired"),
    }
    assert [edge.source for edge in graph.before[attempt].values()] == [_id(outline)]
    assert [edge.target for edge in graph.after[_id(ref("brief.md", step="given"))].values()] == [
        f"run:{RUN}"
    ]


def test_what_an_attempt_was_given_and_hands_on_it_did_not_make() -> None:
    given_it = ref("brief.md", step="given")
    graph = _graph(
        History().run_started().step_started(inputs=[given_it]).step_succeeded(outputs={"output": given_it})
    )
    assert _id(given_it) not in graph.before


def test_the_attempt_that_made_it_is_the_one_that_ran_then() -> None:
    one, other = ref("draft.json", "one"), ref("draft.json", "two")
    graph = _graph(
        History()
        .run_started()
        .step_started(attempt=1)
        .stored(one)
        .step_failed(attempt=1)
        .step_started(attempt=1)  # a reset: the engine counts from 1 again
        .stored(other)
        .step_succeeded(attempt=1, outputs={"output": other})
    )
    assert [edge.source for edge in graph.before[_id(one)].values()] == [f"attempt:{RUN}/draft/1"]
    assert [edge.source for edge in graph.before[_id(other)].values()] == [f"attempt:{RUN}/draft/2"]


def test_of_what_was_stored_under_no_attempt_the_maker_is_the_one_that_ran_then() -> None:
    stored = ref("draft.json")
    graph = _graph(
        History()
        .run_started()
        .step_started(attempt=1)
        .step_failed(attempt=1)
        .step_started(attempt=2)
        .add(EventType.ARTIFACT_STORED, step_id="draft", payload={"name": "draft.json", "ref": stored})
        .step_succeeded(attempt=2)
    )
    assert [edge.source for edge in graph.before[_id(stored)].values()] == [f"attempt:{RUN}/draft/2"]


@given(recorded_histories())
def test_whatever_was_recorded_has_a_lineage_whose_edges_have_ends(history: History) -> None:
    for run_id in {event.run_id for event in history.events}:
        graph = _graph(history, run_id)
        edges = [edge for beside in graph.after.values() for edge in beside.values()]
        found = graph.answer(TENANT, [], "both", edges, None)
        ids = {node.id for node in (*found.artifacts, *found.attempts, *found.runs)}
        assert {end for edge in edges for end in (edge.source, edge.target)} == ids
        assert Lineage.model_validate_json(found.model_dump_json()) == found
        assert lineage_dot(found).count(" -> ") == len(edges)


async def _article(tenant: Tenant, run_id: str, *inputs: ArtifactRef) -> ArtifactRef:
    """A run of two steps: a draft made from `inputs`, and a page made from the draft."""
    async with tenant.run(run_id, pipeline="article", prompt_pack="mock_pack", inputs=inputs) as run:
        async with run.step("draft", model="m-large", prompt={"name": "draft", "version": 2}) as step:
            for reference in inputs:
                await step.get(reference)
            draft = await step.put(f"draft of {run_id}".encode(), "draft.json")
        async with run.step("render") as step:
            await step.get(draft)
            return await step.put(f"page of {run_id}".encode(), "page.html")


async def test_lineage_leads_across_the_runs_of_a_tenant(tenant: Tenant) -> None:
    page = await _article(tenant, "first")
    summary = await _article(tenant, "second", page)
    await tenant.wait_projected(await tenant.store.head())
    audit = AuditQueries(tenant)

    up = await audit.lineage(summary.digest, direction="up")
    assert [(node.run_id, node.step_id) for node in up.attempts] == [
        ("second", "render"),
        ("second", "draft"),
        ("first", "render"),
        ("first", "draft"),
    ]
    assert {node.model for node in up.attempts if node.step_id == "draft"} == {"m-large"}
    assert {node.prompt for node in up.attempts if node.step_id == "draft"} == {"draft v2"}
    assert {node.prompt_pack for node in up.attempts} == {"mock_pack v1"}

    down = await audit.lineage(page.path, direction="down")
    assert down.used_by == ["second"]
    assert {node.name for node in down.artifacts} == {"page.html", "draft.json"}
    assert summary.digest in {node.digest for node in down.artifacts}
    assert [node.run_id for node in down.runs] == ["second"]

    near = await audit.lineage(page.digest[:8], direction="down", depth=1)
    assert [node.name for node in near.artifacts] == ["page.html", "draft.json"]
    both = await audit.lineage(page.digest)
    assert {(edge.source, edge.target) for edge in both.edges} >= {(e.source, e.target) for e in down.edges}
    assert lineage_view(both) is not None


async def test_what_is_no_artifact_is_refused_with_what_is_like_it(tenant: Tenant) -> None:
    page = await _article(tenant, "first")
    await tenant.wait_projected(await tenant.store.head())
    audit = AuditQueries(tenant)
    wrong = f"{page.digest[:-1]}{'0' if page.digest[-1] != '0' else '1'}"
    with pytest.raises(ArtifactNotFound, match=f"Did you mean '{page.digest}'"):
        await audit.lineage(wrong)
    with pytest.raises(ArtifactNotFound, match=r"Did you mean '.*page.html'"):
        await audit.lineage(page.path.replace("page", "pgae"))
    for nonsense in ("", "abc", "not hex at all", "storage/", "0" * 65):
        with pytest.raises(ArtifactNotFound):
            await audit.lineage(nonsense)

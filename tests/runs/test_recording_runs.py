"""Runs and steps: entering records the start, leaving how it ended, and what was raised is raised on."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pydantic
import pytest
from stories import MOCK, context, last, story

from ledger import (
    Tenant,
    ValidationReport,
)
from ledger.contract.context import derive_event_id
from ledger.errors import (
    EventConflict,
    InvalidName,
    PromptPackNotFound,
    RunNotStarted,
    TenantMismatch,
)


async def test_a_run_that_ends_well_tells_its_story(tenant: Tenant) -> None:
    async with tenant.run(
        "run", prompt_pack=MOCK, pipeline="article", config={"tone": "dry"}, labels={"a": 1}, actor="me"
    ) as run:
        async with run.step("outline", model="none", worker="w1") as step:
            ref = await step.put(b"{}", "output.json")
            assert await step.get(ref) == b"{}"
        run.summary = "done"
        run.outputs["article"] = ref

    assert await story(tenant) == [
        "run.started", "step.started", "artifact.stored", "step.succeeded", "run.succeeded"
    ]  # fmt: skip
    events = await tenant.store.read_run("run")
    started, step_started, stored, succeeded, ended = (event.payload or {} for event in events)
    assert started["prompt_pack"].keys() == {"pack_id", "version", "digest"}
    assert started["pipeline"] == "article"
    assert (started["config"], started["labels"]) == ({"tone": "dry"}, {"a": 1})
    assert step_started == {"model": "none", "worker": "w1"}
    assert stored["name"] == "output.json"
    assert stored["ref"]["path"] == f"storage/{tenant.tenant_id}/run/outline/output.json"
    assert succeeded["outputs"].keys() == {"output"}
    assert succeeded["inputs_read"] == [stored["ref"]]
    assert ended["summary"] == "done"
    assert {event.actor for event in (events[0], events[1], events[3], events[4])} == {"me"}
    assert {event.attempt for event in events[1:4]} == {1}


async def test_a_second_attempt_is_a_retry_with_the_error_of_the_first(tenant: Tenant) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run:
        with pytest.raises(TimeoutError):
            async with run.step("draft"):
                raise TimeoutError("slow")
        async with run.step("draft"):
            pass
    assert (await story(tenant))[1:-1] == [
        "step.started", "step.failed", "step.retrying", "step.started", "step.succeeded"
    ]  # fmt: skip
    retrying = await last(tenant, "step.retrying")
    assert retrying.attempt == 2
    assert retrying.payload is not None
    assert retrying.payload["previous_attempt"] == 1
    assert retrying.payload["error"]["message"] == "slow"


async def test_an_attempt_given_above_1_writes_step_retrying_too(tenant: Tenant) -> None:
    async with tenant.run("run", prompt_pack=MOCK), tenant.step(context(tenant, attempt=3)):
        pass
    assert (await story(tenant))[1:-1] == ["step.retrying", "step.started", "step.succeeded"]
    assert (await last(tenant, "step.retrying")).payload == {"previous_attempt": 2}


async def test_a_step_of_a_run_that_was_not_started_is_refused_before_its_body(tenant: Tenant) -> None:
    with pytest.raises(RunNotStarted, match=r"no run\.started.*prompt pack"):
        async with tenant.step(context(tenant)):
            pytest.fail("the body ran")
    assert await tenant.store.head() == 0


async def test_a_context_of_another_tenant_is_refused_before_its_body(tenant: Tenant) -> None:
    with pytest.raises(TenantMismatch, match="stranger"):
        async with tenant.step(context(tenant, tenant_id="stranger")):
            pytest.fail("the body ran")
    assert await tenant.store.head() == 0


async def test_event_ids_are_derived_from_the_attempt(tenant: Tenant) -> None:
    attempt = context(tenant)
    async with tenant.run("run", prompt_pack=MOCK), tenant.step(attempt) as step:
        await step.put(b"1", "a.json")
        await step.put(b"2", "b.json")
    ids = {event.event_id for event in await tenant.store.read()}
    assert ids >= {
        derive_event_id(attempt, "step.started"),
        derive_event_id(attempt, "artifact.stored", 0),
        derive_event_id(attempt, "artifact.stored", 1),
        derive_event_id(attempt, "step.succeeded"),
    }


class Outline(pydantic.BaseModel):
    title: str


async def test_a_step_puts_what_it_has_at_hand(tenant: Tenant, tmp_path: Path) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"# A"
        yield b" title"

    (tmp_path / "cover.png").write_bytes(b"png")
    async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft") as step:
        refs = [
            await step.put("# A title", "a.md"),
            await step.put(stream(), "b.md"),
            await step.put(tmp_path / "cover.png", "cover"),
            await step.put(Outline(title="t"), "outline"),
            await step.put({"title": "t"}, "outline.json"),
            await step.put([1], "numbers", "application/x-own"),
        ]
    markdown = "text/markdown; charset=utf-8"
    json = "application/json"
    types = [markdown, markdown, "image/png", json, json, "application/x-own"]
    assert [ref.content_type for ref in refs] == types
    assert (refs[0].digest, refs[3].digest) == (refs[1].digest, refs[4].digest), "equal content, one blob"
    outputs = ((await last(tenant, "step.succeeded")).payload or {})["outputs"]
    assert set(outputs) == {"a.md", "b.md", "cover", "outline", "outline.json", "numbers"}


async def test_the_same_attempt_executed_twice_records_once(tenant: Tenant) -> None:
    attempt = context(tenant, attempt=2)
    refs = []
    async with tenant.run("run", prompt_pack=MOCK):
        for _ in range(2):
            async with tenant.step(attempt, worker="w") as step:
                before = await step.put(b"one", "before.txt", "text/plain")
                after = await step.put(b"two", "output.txt", "text/plain")
                await step.repaired(kind="spelling", before=before, after=after)
                refs.append((before, after))
            await asyncio.sleep(0.002)
    assert refs[0] == refs[1]
    assert (await story(tenant))[1:-1] == [
        "step.retrying", "step.started", *["artifact.stored"] * 2, "repair.applied", "step.succeeded"
    ]  # fmt: skip


async def test_the_same_attempt_failing_the_same_way_twice_records_once(tenant: Tenant) -> None:
    attempt = context(tenant)
    async with tenant.run("run", prompt_pack=MOCK):
        for _ in range(2):
            with pytest.raises(KeyError):
                async with tenant.step(attempt):
                    raise KeyError("the same")
            await asyncio.sleep(0.002)
    assert (await story(tenant))[1:-1] == ["step.started", "step.failed"]


async def test_the_same_attempt_saying_something_else_is_a_conflict(tenant: Tenant) -> None:
    attempt = context(tenant)
    async with tenant.run("run", prompt_pack=MOCK):
        async with tenant.step(attempt) as step:
            await step.put(b"one", "output.txt")
        with pytest.raises(EventConflict):
            async with tenant.step(attempt) as step:
                await step.put(b"another", "output.txt")


async def test_usage_and_reports_are_recorded_with_the_end_of_the_attempt(tenant: Tenant) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft") as step:
        step.used(model="m", input_tokens=10, output_tokens=20, cost="0.0031", currency="USD")
        step.report(ValidationReport(validator="length", passed=True, checked_at=datetime.now(UTC)))
    payload = (await last(tenant, "step.succeeded")).payload
    assert payload is not None
    assert payload["usage"]["cost"] == "0.0031"
    assert payload["validation_reports"][0]["validator"] == "length"


async def test_without_a_prompt_pack_nothing_runs_and_nothing_is_written(tenant: Tenant) -> None:
    with pytest.raises(ValueError, match="prompt pack id is required"):
        async with tenant.run("run", prompt_pack=None):
            pytest.fail("the body ran")
    with pytest.raises(PromptPackNotFound, match=r"no other pack is used"):
        async with tenant.run("run", prompt_pack="unknown"):
            pytest.fail("the body ran")
    assert await tenant.store.head() == 0


@pytest.mark.parametrize("run_id", ["", "$tenant", "a/b", "..", "a\x00", " a", "x" * 300, "\ud800"])
async def test_a_run_id_that_is_no_name_is_refused_and_nothing_is_written(
    tenant: Tenant, run_id: str
) -> None:
    with pytest.raises(InvalidName, match="is not a run id"):
        async with tenant.run(run_id, prompt_pack=MOCK):
            pytest.fail("the body ran")
    assert await tenant.store.head() == 0


async def test_steps_of_many_runs_at_once_do_not_mix(tenant: Tenant) -> None:
    async def work(n: int) -> None:
        async with tenant.run(f"run-{n}", prompt_pack=MOCK) as run:
            for step_id in ("a", "b"):
                async with run.step(step_id) as step:
                    await step.put(f"{n}{step_id}", "output.txt", "text/plain")

    await asyncio.gather(*(work(n) for n in range(20)))
    for n in range(20):
        events = await tenant.store.read_run(f"run-{n}")
        assert [str(event.event_type) for event in events] == [
            "run.started",
            *["step.started", "artifact.stored", "step.succeeded"] * 2,
            "run.succeeded",
        ]

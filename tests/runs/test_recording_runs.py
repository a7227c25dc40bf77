"""Runs and steps: entering records the start, leaving how it ended, and what was raised is raised on."""

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydantic
import pytest

from ledger import (
    ErrorCategory,
    Event,
    EventType,
    ExecutionContext,
    RecordedEvent,
    StepError,
    StepFailure,
    Tenant,
    ValidationReport,
)
from ledger.contract.context import derive_event_id
from ledger.errors import (
    EventConflict,
    InvalidEvent,
    InvalidName,
    PromptPackNotFound,
    RunNotStarted,
    StoreUnavailable,
    TenantMismatch,
)

MOCK = "mock_pack"


async def story(tenant: Tenant) -> list[str]:
    return [str(event.event_type) for event in await tenant.store.read()]


async def last(tenant: Tenant, event_type: str) -> RecordedEvent:
    return [event for event in await tenant.store.read() if event.event_type == event_type][-1]


async def error_of(tenant: Tenant, event_type: str = "step.failed") -> StepError:
    payload = (await last(tenant, event_type)).payload
    assert payload is not None
    return StepError.model_validate(payload["error"])


def context(tenant: Tenant, **changed: Any) -> ExecutionContext:
    fields: dict[str, Any] = {"run_id": "run", "step_id": "draft", "attempt": 1}
    return ExecutionContext(
        **{**fields, "tenant_id": tenant.tenant_id, "started_at": datetime.now(UTC), **changed}
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


@pytest.mark.parametrize(
    ("raised", "category"),
    [
        (ValueError("no"), "non_retryable"),
        (TimeoutError("slow"), "retryable"),
        (ConnectionResetError("gone"), "retryable"),
        (OSError("disk"), "non_retryable"),
        (StepFailure("too short", category="validation_fail", details={"words": 3}), "validation_fail"),
        (StepFailure("again", category=ErrorCategory.RETRYABLE), "retryable"),
        (StepFailure("never"), "non_retryable"),
        (StoreUnavailable("away"), "retryable"),
        (InvalidName("bad"), "non_retryable"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_a_failure_is_recorded_with_its_category_and_raised_on_itself(
    tenant: Tenant, raised: Exception, category: str
) -> None:
    with pytest.raises(type(raised)) as caught:
        async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft"):
            raise raised
    assert caught.value is raised
    assert await story(tenant) == ["run.started", "step.started", "step.failed", "run.failed"]
    error = await error_of(tenant)
    assert (error.category, error.step_id, error.attempt) == (category, "draft", 1)
    assert error.is_retryable() is (category == "retryable")
    assert error.details is not None
    assert error.details["type"].endswith(type(raised).__qualname__)
    assert await error_of(tenant, "run.failed") == error


async def test_the_details_of_a_step_failure_are_kept(tenant: Tenant) -> None:
    with pytest.raises(StepFailure):
        async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft"):
            raise StepFailure("short", category="validation_fail", details={"words": 3, "limits": [5, 9]})
    error = await error_of(tenant)
    assert error.message == "short"
    assert error.details is not None
    assert (error.details["words"], error.details["limits"]) == (3, [5, 9])


async def test_a_pydantic_validation_error_is_a_validation_failure(tenant: Tenant) -> None:
    class Article(pydantic.BaseModel):
        words: int

    with pytest.raises(pydantic.ValidationError):
        async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft"):
            Article.model_validate({"words": "many"})
    assert (await error_of(tenant)).category is ErrorCategory.VALIDATION_FAIL


async def test_classify_of_the_step_comes_before_the_runs_and_that_before_the_defaults(
    tenant: Tenant,
) -> None:
    def of_run(raised: BaseException) -> str | None:
        return "retryable" if isinstance(raised, KeyError) else None

    def of_step(raised: BaseException) -> ErrorCategory:
        return ErrorCategory.VALIDATION_FAIL

    async with tenant.run("run", prompt_pack=MOCK, classify=of_run) as run:
        for step_id, classify, raised in (
            ("by-run", None, KeyError("k")),
            ("by-step", of_step, KeyError("k")),
            ("by-default", None, TimeoutError("t")),
        ):
            with pytest.raises(type(raised)):
                async with run.step(step_id, classify=classify):
                    raise raised
    events = [event for event in await tenant.store.read() if event.event_type is EventType.STEP_FAILED]
    assert [(event.payload or {})["error"]["category"] for event in events] == [
        "retryable", "validation_fail", "retryable"
    ]  # fmt: skip


async def test_a_timeout_is_enforced_and_retryable(tenant: Tenant) -> None:
    with pytest.raises(TimeoutError, match=r"timed out after 0\.05 s"):
        async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft", timeout_seconds=0.05):
            await asyncio.sleep(30)
    error = await error_of(tenant)
    assert (error.category, error.message) == (ErrorCategory.RETRYABLE, "timed out after 0.05 s")
    started = (await last(tenant, "step.started")).payload
    assert started == {"timeout_seconds": 0.05}


async def test_an_error_of_ones_own_after_the_timeout_keeps_its_text(tenant: Tenant) -> None:
    with pytest.raises(RuntimeError) as caught:  # noqa: PT012
        async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft", timeout_seconds=0.05):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                raise RuntimeError from None
    assert caught.value.args == ()


async def test_a_cancellation_is_recorded_and_goes_on(tenant: Tenant) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with tenant.run("run", prompt_pack=MOCK, actor="me") as run, run.step("draft"):
            entered.set()
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel("the user changed his mind")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert await story(tenant) == ["run.started", "step.started", "step.failed", "run.cancelled"]
    error = await error_of(tenant)
    assert error.category is ErrorCategory.NON_RETRYABLE
    assert error.details is not None
    assert error.details["cancelled"] is True
    cancelled = (await last(tenant, "run.cancelled")).payload
    assert cancelled == {"reason": "the user changed his mind", "by": "me"}


async def test_a_cancellation_while_the_end_is_being_recorded_stops_the_waiting_not_the_recording(
    tenant: Tenant,
) -> None:
    """Cancelled at every moment of its life: a body that ran has one end in the log."""
    ran: set[str] = set()

    async def work(run_id: str) -> None:
        async with tenant.run(run_id, prompt_pack=MOCK) as run, run.step("draft"):
            ran.add(run_id)

    for moment in range(40):
        task = asyncio.create_task(work(f"run-{moment}"))
        await asyncio.sleep(moment * 0.0002)
        task.cancel()
        await asyncio.wait([task])
    await tenant.emitter.emit(Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id="last"))
    await asyncio.sleep(0.2)
    ends: dict[str, list[str]] = {}
    for event in await tenant.store.read():
        if event.event_type in {"step.succeeded", "step.failed"}:
            ends.setdefault(event.run_id, []).append(str(event.event_type))
    assert ran
    assert ends == {run_id: ["step.succeeded"] for run_id in ran}


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


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("x" * 1_000_000),
        ValueError("a\x00b\ud800c"),
        StepFailure("m", details={"value": math.nan, "inf": [math.inf]}),
        StepFailure("m", details={"huge": "x" * 100_000}),
        StepFailure("m", details={"odd": object()}),
        StepFailure("m", details={"nul": "\x00"}),
        StepFailure("m", details={"surrogate": "\udfff"}),
        StepFailure("m", details={1: "a number as key"}),  # type: ignore[dict-item]
        StepFailure("\x00" * 5_000, category="retryable"),
        ValueError(),
    ],
    ids=["huge", "odd text", "nan", "huge details", "object", "nul", "surrogate", "key", "nuls", "empty"],
)
async def test_any_failure_can_be_recorded(tenant: Tenant, raised: Exception) -> None:
    with pytest.raises(type(raised)) as caught:
        async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft"):
            raise raised
    assert caught.value is raised
    error = await error_of(tenant)
    assert 0 < len(error.message) < 2_100
    assert await story(tenant) == ["run.started", "step.started", "step.failed", "run.failed"]


async def test_a_success_that_cannot_be_recorded_is_a_failure_that_is(tenant: Tenant) -> None:
    with pytest.raises(InvalidEvent, match="too large"):
        async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft") as step:
            step.report(ValidationReport(validator="v" * 70_000, passed=True, checked_at=datetime.now(UTC)))
    assert await story(tenant) == ["run.started", "step.started", "step.failed", "run.failed"]
    assert (await error_of(tenant)).category is ErrorCategory.NON_RETRYABLE


async def test_a_failure_with_notes_that_cannot_be_kept_is_recorded_without_them(tenant: Tenant) -> None:
    raised = ValueError("the reason")
    with pytest.raises(ValueError, match="the reason") as caught:  # noqa: PT012
        async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft") as step:
            step.used(cost="about a dollar")
            raise raised
    assert caught.value is raised
    error = await error_of(tenant)
    assert error.message == "the reason"
    assert error.details is not None
    assert "cost" in error.details["notes_not_kept"]


async def test_a_run_whose_summary_cannot_be_recorded_has_failed(tenant: Tenant) -> None:
    with pytest.raises(InvalidEvent):
        async with tenant.run("run", prompt_pack=MOCK) as run:
            run.summary = "x" * 70_000
    assert await story(tenant) == ["run.started", "run.failed"]
    with pytest.raises(KeyError):  # noqa: PT012
        async with tenant.run("run-2", prompt_pack=MOCK) as run:
            run.summary = "x" * 70_000
            raise KeyError("k")
    assert (await error_of(tenant, "run.failed")).message == "'k'"


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

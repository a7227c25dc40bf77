"""How a step fails: by an exception, a timeout, a cancellation, and what cannot be recorded."""

import asyncio
import math
from datetime import UTC, datetime

import pydantic
import pytest
from stories import MOCK, error_of, last, story

from ledger import (
    ErrorCategory,
    Event,
    EventType,
    StepFailure,
    Tenant,
    ValidationReport,
)
from ledger.errors import (
    InvalidEvent,
    InvalidName,
    StoreUnavailable,
)


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

"""Listing runs: every filter, and pages that neither skip nor repeat a run."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from builder import PACK, error

from ledger import Event, EventType, RecordedEvent, Settings, Tenant
from ledger.errors import InvalidFilter
from projections import Projector, RunFilter, list_runs


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


class Recorder:
    """Records whole runs of a tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    async def run(
        self, run_id: str, *parts: tuple[EventType, str | None, dict[str, Any]], **started: Any
    ) -> list[RecordedEvent]:
        payload = {"prompt_pack": PACK, **started}
        events = [self._event(run_id, EventType.RUN_STARTED, None, payload)]
        events += [self._event(run_id, *part) for part in parts]
        return await self.tenant.emitter.emit_many(events)

    def _event(self, run_id: str, kind: EventType, step: str | None, payload: dict[str, Any]) -> Event:
        return Event(
            event_type=kind, run_id=run_id, step_id=step, tenant_id=self.tenant.tenant_id, payload=payload
        )


START, END, FAIL = EventType.STEP_STARTED, EventType.STEP_SUCCEEDED, EventType.STEP_FAILED


def failure(step: str, category: str) -> tuple[EventType, str, dict[str, Any]]:
    return FAIL, step, {"error": error(step, "the model's answer was cut", category=category)}


@pytest.fixture
async def listed(tenant: Tenant) -> Tenant:
    recorder = Recorder(tenant)
    await recorder.run("article-1", (START, "outline", {}), (END, "outline", {}), pipeline="article")
    await recorder.run(
        "article-2",
        (START, "draft", {}),
        failure("draft", "retryable"),
        (START, "draft", {}),
        (END, "draft", {}),
        (EventType.RUN_SUCCEEDED, None, {}),
        prompt_pack={**PACK, "version": 4},
        labels={"customer": "Häberle & Co"},
    )
    await recorder.run(
        "report_3",
        (START, "draft", {}),
        failure("draft", "validation_fail"),
        (START, "render", {}),
        failure("render", "non_retryable"),
        (EventType.RUN_FAILED, None, {"error": error("render", "no page", category="non_retryable")}),
        prompt_pack={**PACK, "pack_id": "other"},
    )
    await recorder.run("report-4", (EventType.RUN_CANCELLED, None, {"by": "eva"}))
    refusal = error("start", "bad config", category="validation_fail")
    await recorder.run("bare", (EventType.RUN_FAILED, None, {"error": refusal}))
    await project(tenant)
    return tenant


async def project(tenant: Tenant) -> None:
    projector = Projector(tenant.store)
    await projector.catch_up()
    await projector.close()


CASES: list[tuple[dict[str, str], list[str]]] = [
    ({}, ["bare", "report-4", "report_3", "article-2", "article-1"]),
    ({"status": "running"}, ["article-1"]),
    ({"status": "failed"}, ["bare", "report_3"]),
    ({"status": "not_started"}, []),
    ({"step": "draft"}, ["report_3", "article-2"]),
    ({"step": "draft", "status": "failed"}, ["report_3"]),
    ({"step": "nothing"}, []),
    ({"error_category": "retryable"}, ["article-2"]),
    ({"error_category": "non_retryable"}, ["report_3"]),
    ({"error_category": "validation_fail"}, ["bare", "report_3"]),
    ({"error_category": "validation_fail", "step": "draft"}, ["report_3"]),
    ({"error_category": "non_retryable", "step": "draft"}, []),
    ({"prompt_pack": "mock_pack"}, ["bare", "report-4", "article-2", "article-1"]),
    ({"prompt_pack": "mock_pack", "prompt_pack_version": "4"}, ["article-2"]),
    ({"prompt_pack": "other", "prompt_pack_version": "4"}, []),
    ({"text": "article"}, ["article-2", "article-1"]),
    ({"text": "ARTICLE 2"}, ["article-2"]),
    ({"text": "article-2"}, ["article-2"]),
    ({"text": "rep"}, ["report-4", "report_3"]),
    ({"text": "HÄBERLE"}, ["article-2"]),
    ({"text": "no page"}, ["report_3"]),
    ({"text": "page's & !cat <-> 'x"}, []),
    ({"text": "report", "status": "cancelled"}, ["report-4"]),
]


async def test_a_filter_leaves_the_runs_that_fit(listed: Tenant) -> None:
    for wanted, expected in CASES:
        page = await list_runs(listed, RunFilter(**wanted))
        assert (wanted, [run.run_id for run in page.runs], page.next) == (wanted, expected, None)


async def test_a_range_of_times_is_by_when_runs_were_first_recorded(tenant: Tenant) -> None:
    recorder = Recorder(tenant)
    times = [(await recorder.run(f"run-{number}"))[0].recorded_at for number in range(4)]
    await project(tenant)

    async def listed(**wanted: Any) -> list[str]:
        return [run.run_id for run in (await list_runs(tenant, RunFilter(**wanted))).runs]

    assert await listed(since=times[2]) == ["run-3", "run-2"]
    assert await listed(until=times[2]) == ["run-1", "run-0"]
    assert await listed(since=times[1], until=times[3]) == ["run-2", "run-1"]
    assert await listed(since=times[3] + timedelta(seconds=1)) == []
    assert await listed(until=times[0]) == []
    assert await listed(since=times[1], step="draft") == []


async def test_pages_neither_skip_nor_repeat_while_runs_are_recorded(tenant: Tenant) -> None:
    recorder = Recorder(tenant)
    for number in range(25):
        await recorder.run(f"run-{number:02}", (START, "draft", {}))
    await project(tenant)

    for wanted in (RunFilter(), RunFilter(status="running"), RunFilter(step="draft")):
        seen: list[str] = []
        cursor = None
        while True:
            page = await list_runs(tenant, wanted, limit=10, after=cursor)
            seen += [run.run_id for run in page.runs]
            await recorder.run(f"later-{len(seen)}-{wanted.status}-{wanted.step}")
            await project(tenant)
            if page.next is None:
                break
            cursor = page.next
        assert [run for run in seen if run.startswith("run-")] == [f"run-{n:02}" for n in range(24, -1, -1)]


async def test_a_page_that_ends_with_the_last_run_is_the_last(tenant: Tenant) -> None:
    recorder = Recorder(tenant)
    for number in range(4):
        await recorder.run(f"run-{number}")
    await project(tenant)

    first = await list_runs(tenant, limit=2)
    second = await list_runs(tenant, limit=2, after=first.next)

    assert second.next is None
    positions = [run.first_position for page in (first, second) for run in page.runs]
    assert all(one > other for one, other in pairwise(positions))


@pytest.mark.parametrize(
    "wanted",
    [
        {"status": "gone"},
        {"error_category": "fatal"},
        {"prompt_pack_version": "3"},
        {"since": datetime(2026, 1, 1)},
        {"text": " -- "},
        {"text": "word " * 17},
        {"step": "dr\x00aft"},
    ],
    ids=str,
)
def test_what_no_run_can_have_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(InvalidFilter):
        RunFilter(**wanted)


def test_a_time_with_its_zone_is_taken() -> None:
    assert RunFilter(since=datetime(2026, 1, 1, tzinfo=UTC)).until is None

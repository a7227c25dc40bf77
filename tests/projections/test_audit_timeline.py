"""The timeline: every event, every attempt, what each waited for, and the chart that shows it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from builder import PACK, RUN, TENANT, History, error, ref
from event_strategies import recorded_histories
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ledger import Event, Ledger, RecordedEvent, Settings, Tenant
from ledger.cli.answers.chart import chart
from ledger.cli.answers.timeline import timeline_view, what
from ledger.contract.events import decoded_payloads
from ledger.contract.evolution import PayloadTooNew
from projections.audit import AuditQueries, Timeline
from projections.audit.history import RunHistory
from projections.audit.timeline import span_of, timeline_of
from projections.fold import RunState, fold
from projections.fold.durations import milliseconds_between
from projections.fold.timeline import TimelineFold
from projections.rows import AnomalyRow, RunRow

TOLD_OF_RUNS = (
    "status", "pipeline", "prompt_pack_id", "prompt_pack_version", "prompt_pack_digest",
    "started_at", "ended_at", "duration_ms",
)  # fmt: skip


def _timeline(history: History, run_id: str = RUN) -> Timeline:
    events = [event for event in history.events if event.run_id == run_id]
    return timeline_of(TENANT, run_id, events)


def _troubled() -> History:
    """One of everything, a second apart: a failure, a wait, a loss, a repair, an anomaly."""
    prompt = {"name": "draft", "version": 2, "digest": "d" * 64}
    return (
        History()
        .run_started(pipeline="article")
        .step_started(actor="ann", model="m-large", prompt=prompt, worker="w-1")
        .step_failed(error=error(message="connection reset"), will_retry=True)
        .step_retrying(attempt=2)
        .step_started(attempt=2)
        .step_lost(attempt=2, detected_by="watchdog")
        .step_started(attempt=3, engine={"name": "temporal", "scheduled_at": "2026-01-01T12:00:06Z"})
        .repaired(ref("draft.json", "{"), ref("draft.json", "{}"), note="closed a brace")
        .step_succeeded(attempt=3, outputs={"output": ref("draft.json", "{}")})
        .run_succeeded()
        .step_started("late")
    )


def test_every_event_is_told_in_order_with_who_what_and_how_long() -> None:
    found = _timeline(_troubled())
    told = {entry.position: entry for entry in found.entries}

    assert [entry.event_type for entry in found.entries][:4] == [
        "run.started", "step.started", "step.failed", "step.retrying",
    ]  # fmt: skip
    assert (told[2].actor, told[2].model, told[2].prompt) == ("ann", "m-large", "draft v2")
    assert (told[3].duration_ms, told[3].error_category, told[3].retryable) == (1_000, "retryable", True)
    assert told[3].summary == "retryable: connection reset"
    assert told[5].waited_ms == 2_000
    assert told[6].summary == "noticed by watchdog"
    assert "closed a brace" in told[8].summary
    assert (told[10].duration_ms, told[10].since_start_ms) == (9_000, 9_000)
    assert [odd.code for odd in told[11].anomalies] == ["step_after_run"]
    assert (found.prompt_pack_id, found.prompt_pack_version) == (PACK["pack_id"], str(PACK["version"]))


def test_every_attempt_has_a_span_with_what_it_waited_for() -> None:
    spans = _timeline(_troubled()).attempts

    assert [(span.step_id, span.ordinal, span.status) for span in spans] == [
        ("draft", 1, "failed"),
        ("draft", 2, "lost"),
        ("draft", 3, "succeeded"),
        ("late", 1, "running"),
    ]
    assert (spans[0].model, spans[0].prompt, spans[0].worker) == ("m-large", "draft v2", "w-1")
    assert (spans[1].retry_wait_ms, spans[1].ended_at, spans[1].duration_ms) == (2_000, None, None)
    assert spans[2].queue_ms == 1_000


def test_every_step_tells_the_packs_version_and_digest_and_its_prompts() -> None:
    found = _timeline(_troubled())
    pack = (PACK["pack_id"], str(PACK["version"]), PACK["digest"])

    starts = [entry for entry in found.entries if entry.event_type == "step.started"]
    assert len(starts) == len(found.attempts) == 4
    for told in (*starts, *found.attempts):
        assert (told.prompt_pack_id, told.prompt_pack_version, told.prompt_pack_digest) == pack
    assert [span.prompt_digest for span in found.attempts] == ["d" * 64, None, None, None]
    assert [entry.prompt_digest for entry in starts] == ["d" * 64, None, None, None]
    shown = what(starts[1]).plain
    assert shown.startswith(f"pack {pack[0]} v{pack[1]} {pack[2][:12]}")


def test_of_one_step_or_in_trouble_or_after_a_position() -> None:
    whole = _timeline(_troubled())

    late = whole.only(step="late")
    assert [entry.position for entry in late.entries] == [11]
    assert [span.step_id for span in late.attempts] == ["late"]
    troubled = whole.only(errors=True)
    assert [entry.event_type for entry in troubled.entries] == [
        "step.failed",
        "step.lost",
        "repair.applied",
        "step.started",
    ]
    assert [span.ordinal for span in troubled.attempts if span.step_id == "draft"] == [1, 2]
    assert [entry.position for entry in whole.only(after=9).entries] == [10, 11]
    assert whole.only() is whole


def test_the_chart_has_a_row_per_attempt_in_its_place() -> None:
    lines = [line.plain for line in chart(_timeline(_troubled()), 100)]

    assert [line.split("  ")[0] for line in lines[1:]] == ["draft #1", "draft #2", "draft #3", "late #1"]
    begins = [min(line.find(mark) for mark in "█░?" if mark in line) for line in lines[1:]]
    assert begins == sorted(begins)
    assert "░" in lines[2]
    assert "?" in lines[2]
    assert all(len(line) <= 100 for line in lines)


@settings(deadline=None)
@given(recorded_histories())
def test_whatever_was_recorded_it_is_told_and_drawn(history: History) -> None:
    for run_id in {event.run_id for event in history.events}:
        found = _timeline(history, run_id)
        assert [entry.position for entry in found.entries] == [
            event.position for event in history.events if event.run_id == run_id
        ]
        assert Timeline.model_validate_json(found.model_dump_json()) == found
        Console(width=100, quiet=True).print(timeline_view(found, 100))


@settings(deadline=None)
@given(recorded_histories())
def test_the_fold_of_a_timeline_says_what_the_whole_fold_says_after_every_event(history: History) -> None:
    for run_id in {event.run_id for event in history.events}:
        _assert_folded_alike([event for event in history.events if event.run_id == run_id])


A, B, C = (ref("draft.json", body) for body in "abc")
KNOWN_BY: dict[str, Callable[[], History]] = {
    "the run's inputs": lambda: History().run_started(inputs=[A]).step_started(),
    "an attempt's inputs": lambda: History().run_started().step_started(inputs=[A]),
    "what an attempt read": lambda: (
        History().run_started().step_started().step_succeeded(inputs_read=[A]).step_started(attempt=2)
    ),
    "what an attempt made": lambda: (
        History().run_started().step_started().step_succeeded(outputs={"output": A}).step_started(attempt=2)
    ),
    "an artifact that was stored": lambda: History().run_started().step_started().stored(A),
    "what a repair made": lambda: History().run_started(inputs=[C]).step_started().repaired(C, A),
}


@pytest.mark.parametrize("known_by", KNOWN_BY)
def test_a_repair_of_what_is_known_is_not_odd_however_it_is_known(known_by: str) -> None:
    history = KNOWN_BY[known_by]().repaired(A, B)
    assert not _timeline(history).entries[-1].anomalies
    _assert_folded_alike(history.events)


def _assert_folded_alike(events: Sequence[RecordedEvent]) -> None:
    whole, lean = RunState(events[0].run_id), TimelineFold(events[0].run_id)
    for event in events:
        fold(whole, event)
        ended_or_begun = lean.add(event, event.payload or {})
        odd = [(row.code, row.message) for row in whole.take_touched() if isinstance(row, AnomalyRow)]
        assert lean.take_odd() == odd
        run = whole.run or RunRow(event.run_id)
        for name in TOLD_OF_RUNS:
            assert getattr(lean, name) == getattr(run, name), name
        assert lean.spans() == [span_of(row, run) for row in RunHistory(TENANT, event.run_id, whole).attempts]
        assert lean.step_status.keys() == whole.steps.keys()
        assert [step for step, status in lean.step_status.items() if status == "running"] == [
            step.step_id for step in whole.steps.values() if step.status == "running"
        ]
        if ended_or_begun is not None:
            assert event.position in {ended_or_begun.started_position, ended_or_begun.ended_position}


def test_what_was_decoded_together_is_what_was_decoded_one_by_one() -> None:
    events = [*_troubled().events, *History().run_started().step_started().events]
    events[1] = events[1]._replace(data=None)
    events[2] = events[2]._replace(event_type="shop.domain:Order.Placed", data=b"no JSON")
    kinds, versions = [str(event.event_type) for event in events], [event.schema_version for event in events]
    stored = [event.data for event in events]
    assert decoded_payloads(kinds, versions, stored) == [event.payload or {} for event in events]
    with pytest.raises(PayloadTooNew):
        decoded_payloads(["run.succeeded"], [2], [b"{}"])
    assert decoded_payloads(["run.succeeded"], [2], [None]) == [{}]


TIMES = (
    datetime(2026, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 1, 1, microsecond=500_000, tzinfo=UTC),
    datetime(2026, 1, 1, microsecond=1, tzinfo=UTC),
    datetime(1, 1, 2, tzinfo=UTC),
    datetime(9999, 12, 29, 23, 59, 59, 999_999, tzinfo=UTC),
)


def test_a_long_history_is_told_like_a_short_one() -> None:
    history = History().run_started()
    for number in range(300):
        history.step_started(f"step-{number}").step_failed(f"step-{number}", error=error())
    entries = _timeline(history).entries
    assert [entry.position for entry in entries] == [event.position for event in history.events]
    assert {entry.error_category for entry in entries if entry.event_type == "step.failed"} == {"retryable"}
    assert entries[-1].since_start_ms == 600_000


@given(st.lists(st.datetimes(TIMES[3].replace(tzinfo=None), TIMES[4].replace(tzinfo=None)), min_size=1))
def test_times_told_are_those_of_the_events_to_the_microsecond(times: list[datetime]) -> None:
    run, later = History().run_started().events[0], timedelta(hours=1)
    events = [
        run._replace(timestamp=time, recorded_at=time + later)
        for time in (naive.replace(tzinfo=UTC) for naive in times)
    ]
    entries = timeline_of(TENANT, RUN, events).entries
    assert [(entry.timestamp, entry.recorded_at) for entry in entries] == [
        (event.timestamp, event.recorded_at) for event in events
    ]
    assert [entry.since_start_ms for entry in entries] == [
        milliseconds_between(events[0].timestamp, event.timestamp) for event in events
    ]


async def test_times_are_those_that_were_recorded_however_the_database_writes_them(
    settings: Settings, tenant: Tenant
) -> None:
    superuser = await tenant.database.server.connect()
    for setting in ("datestyle = 'German'", "timezone = 'Asia/Tokyo'"):
        await superuser.execute(f'ALTER DATABASE "{tenant.database.name}" SET {setting}')
    await superuser.close()
    recorded = [
        await tenant.emitter.emit(
            Event(event_type="run.started", run_id="r", tenant_id=tenant.tenant_id, timestamp=time,
                  payload={"prompt_pack": PACK})
        )
        for time in TIMES
    ]  # fmt: skip

    async with await Ledger.open(settings) as ledger:  # whose connections are all made from now on
        entries = (await AuditQueries(await ledger.tenant(tenant.tenant_id)).timeline("r")).entries
    assert [entry.timestamp for entry in entries] == list(TIMES)
    assert [entry.recorded_at for entry in entries] == [event.recorded_at for event in recorded]
    assert {entry.timestamp.tzinfo for entry in entries} == {UTC}


async def test_following_ends_when_the_run_does(tenant: Tenant) -> None:
    async def emit(kind: str, **fields: object) -> None:
        await tenant.emitter.emit(Event(event_type=kind, run_id="r", tenant_id=tenant.tenant_id, **fields))

    await emit("run.started", payload={"prompt_pack": PACK})
    told: list[str] = []

    async def follow() -> None:
        async for entry in AuditQueries(tenant).follow("r"):
            told.append(entry.event_type)

    following = asyncio.create_task(follow())
    await emit("step.started", step_id="draft", attempt=1)
    await emit("step.succeeded", step_id="draft", attempt=1)
    await emit("run.succeeded")
    await emit("step.started", step_id="late", attempt=1)
    await asyncio.wait_for(following, 30)
    assert told == ["run.started", "step.started", "step.succeeded", "run.succeeded"]

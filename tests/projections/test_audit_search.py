"""Search and statistics: the same from indexes and tables as from the events themselves."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from event_strategies import STEPS, Fact, interleaved
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_projection_properties import can_be_emitted

from ledger import Event, EventType, Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import InvalidSearch, RunNotFound, StepNotFound
from projections import Projector
from projections.audit import AuditQueries
from projections.audit import search as search_module
from projections.audit.search import FoundEvent, Wanted, search_events
from projections.audit.statistics import RepairTally, Statistics

wanted = st.builds(
    Wanted,
    run_id=st.none() | st.sampled_from(["run-1", "run-2"]),
    types=st.none()
    | st.lists(st.sampled_from([kind.value for kind in EventType]), min_size=1, max_size=3).map(tuple),
    step_id=st.none() | st.sampled_from(STEPS),
    actor=st.none() | st.sampled_from(["ann", "nobody"]),
    category=st.none() | st.sampled_from(["retryable", "validation_fail"]),
    text=st.none() | st.sampled_from(["JSON_fix", "digest", '"', "ü", "no answer"]),
)


@hypothesis_settings(
    max_examples=6,
    deadline=None,
    # Each example takes a database of its own: a failure is shown as it was found, not made smaller.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    interleaved(), st.lists(wanted, min_size=4, max_size=8), st.integers(1, 5), st.integers(1, 4), st.data()
)
def test_pages_hold_what_the_events_themselves_say(
    settings: Settings,
    facts: list[Fact],
    searches: list[Wanted],
    limit: int,
    looked_at: int,
    data: st.DataObject,
) -> None:
    facts = [fact for fact in facts if can_be_emitted(fact.event_type)]
    if facts:
        after = data.draw(st.integers(1, len(facts)))
        upto = data.draw(st.integers(after, len(facts)))
        asyncio.run(_compare(settings, facts, searches, limit, looked_at, after, upto))


async def _compare(
    settings: Settings,
    facts: list[Fact],
    searches: list[Wanted],
    limit: int,
    looked_at: int,
    since: int,
    until: int,
) -> None:
    external = settings.model_copy(update={"projection": "external"})
    async with await Ledger.open(external) as ledger:
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "A tenant of an example")
        tenant = await ledger.tenant(tenant_id)
        await tenant.emitter.emit_many([fact.to_event(tenant_id) for fact in facts])
        projector = Projector(tenant.store)
        await projector.catch_up()
        await projector.close()
        audit = AuditQueries(tenant)
        events = await tenant.store.read(limit=10_000)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(search_module, "LOOKED_AT_MAX", looked_at)
            for one in searches:
                expected = search_events(events, one, after=since - 1, upto=until)
                if _is_misspelt(one, events):
                    assert not expected
                    with pytest.raises((RunNotFound, StepNotFound, InvalidSearch)):
                        await _all_pages(audit, one, limit, since, until)
                else:
                    assert await _all_pages(audit, one, limit, since, until) == expected
        tables = await audit.statistics(since=since, until=until)
        afresh = await audit.statistics(since=since, until=until, source="events")
        assert afresh.model_copy(update={"source": "tables"}) == tables
        assert Statistics.model_validate_json(tables.model_dump_json()) == tables


def _is_misspelt(one: Wanted, events: list[RecordedEvent]) -> bool:
    """No event at all has the run, or the step, or the actor."""
    return (
        (one.run_id is not None and one.run_id not in {event.run_id for event in events})
        or (one.step_id is not None and one.step_id not in {event.step_id for event in events})
        or (one.actor is not None and one.actor not in {event.actor for event in events})
    )


async def _all_pages(
    audit: AuditQueries, one: Wanted, limit: int, since: int, until: int
) -> list[FoundEvent]:
    found: list[FoundEvent] = []
    before: int | None = None
    while True:
        page = await audit.search(
            run_id=one.run_id,
            types=one.types,
            step_id=one.step_id,
            actor=one.actor,
            category=one.category,
            text=one.text,
            since=since,
            until=until,
            before=before,
            limit=limit,
        )
        assert len(page.events) <= limit
        found += page.events
        if page.next is None:
            return found
        assert before is None or page.next < before
        before = page.next


def _ended(
    tenant: Tenant, run: str, step: str, kind: str, attempt: int, ms: int, **more: object
) -> list[Event]:
    def event(event_type: str, **payload: object) -> Event:
        return Event(
            event_type=event_type,
            run_id=run,
            step_id=step,
            attempt=attempt,
            tenant_id=tenant.tenant_id,
            payload=payload,
        )

    return [event("step.started"), event(kind, duration_ms=ms, **more)]


async def test_statistics_count_by_step_and_category_in_a_range_of_time(tenant: Tenant) -> None:
    def error(category: str) -> dict[str, object]:
        return {
            "step_id": "draft",
            "category": category,
            "message": "m",
            "occurred_at": "2026-01-01T00:00:00Z",
        }

    await tenant.emitter.emit_many(
        [
            *_ended(tenant, "a", "draft", "step.failed", 1, 10, error=error("retryable")),
            *_ended(tenant, "a", "draft", "step.failed", 2, 20, error=error("validation_fail")),
            *_ended(tenant, "a", "draft", "step.succeeded", 3, 400),
            *_ended(tenant, "b", "draft", "step.succeeded", 1, 30),
        ]
    )
    between = datetime.now(UTC)
    late = await tenant.emitter.emit_many(_ended(tenant, "b", "render", "step.succeeded", 1, 5))
    await tenant.wait_projected(late[-1].position)
    audit = AuditQueries(tenant)

    draft, render = (await audit.statistics()).steps
    assert (draft.attempts, draft.failed, draft.retryable, draft.validation_fail, draft.retries) == (
        4,
        2,
        1,
        1,
        2,
    )
    assert (draft.p50_ms, draft.p95_ms, draft.max_ms, draft.total_ms) == (20, 400, 400, 460)
    assert (draft.failure_rate, draft.retry_rate, render.p50_ms) == (0.5, 0.5, 5)
    assert [step.step_id for step in (await audit.statistics(until=between)).steps] == ["draft"]
    assert [step.step_id for step in (await audit.statistics(since=between)).steps] == ["render"]
    slowest = (await audit.statistics()).slowest
    assert [(slow.run_id, slow.duration_ms) for slow in slowest] == [
        ("a", 400),
        ("b", 30),
        ("a", 20),
        ("a", 10),
        ("b", 5),
    ]


def test_a_repair_helped_where_its_validator_passed_the_next_time_it_spoke() -> None:
    def said(validator: str, *passed: bool) -> list[dict[str, object]]:
        return [{"validator": validator, "passed": word} for word in passed]

    fixed = {"kind": "fix", "validator": "schema"}
    tally = RepairTally()
    tally.add(
        [("r", 5, fixed), ("r", 15, fixed), ("r", 25, fixed), ("s", 1, {"kind": "any"}), ("s", 2, None)],
        {
            "r": [
                (3, said("schema", False)),
                (10, said("schema", False, True)),
                (12, said("length", False)),
                (20, said("schema", False)),
            ],
            "s": [(4, said("length", True))],
        },
    )
    assert [
        (found.kind, found.applied, found.helped, found.not_helped, found.untested)
        for found in tally.statistics()
    ] == [
        ("any", 1, 1, 0, 0),
        ("fix", 3, 1, 1, 1),
    ]


def _start(tenant: Tenant, run_id: str, step_id: str, actor: str | None = None) -> Event:
    return Event(
        event_type="step.started", run_id=run_id, step_id=step_id, actor=actor, tenant_id=tenant.tenant_id
    )


@pytest.mark.parametrize("given", [{}, {"types": ["step.started"]}, {"step_id": "s"}, {"actor": "ann"}])
async def test_no_event_is_missed_or_told_twice_while_others_are_recorded(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    monkeypatch.setattr(search_module, "LOOKED_AT_MAX", 5)
    await tenant.emitter.emit_many([_start(tenant, f"r-{number}", "s", "ann") for number in range(40)])
    there = [event.position for event in await tenant.store.read()]
    audit, found, before = AuditQueries(tenant), list[int](), None
    while True:
        page = await audit.search(**given, before=before, limit=3)
        found += [event.position for event in page.events]
        await tenant.emitter.emit_many([_start(tenant, "later", "s", "ann") for _ in range(7)])
        if page.next is None:
            break
        before = page.next
    assert found == there[::-1]


async def test_a_name_beyond_those_that_are_suggested_is_known_all_the_same(tenant: Tenant) -> None:
    names = [f"name-{number:04}" for number in range(1_001)]
    for some in (names[:600], names[600:]):
        await tenant.emitter.emit_many([_start(tenant, "r", name, name) for name in some])
    audit, last = AuditQueries(tenant), names[-1]
    assert (await audit.search(step_id=last, category="retryable")).events == []
    assert (await audit.search(actor=last, text="nowhere")).events == []
    with pytest.raises(InvalidSearch, match="Did you mean 'name-0001'"):
        await audit.search(actor="nam-0001")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Wanted(text=""),
        lambda: Wanted(text="\x00"),
        lambda: Wanted(text="x" * 256),
        lambda: Wanted(text="\ud800"),
        lambda: Wanted(category="maybe"),
        lambda: Wanted(step_id="a\x00b"),
    ],
)
def test_what_can_stand_in_no_event_is_refused(wrong: Callable[[], Wanted]) -> None:
    with pytest.raises(InvalidSearch):
        wrong()

"""As of any point: what was folded then, what the projections held then, and clear words where there was
nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from builder import PACK, RUN, TENANT, History, Records, ref
from database_rows import busy_run, live_records, started
from event_strategies import Fact, interleaved, recorded_histories
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_projection_properties import can_be_emitted

from ledger import Event, EventType, Ledger, Settings, Tenant
from ledger.errors import InvalidPoint, PositionNotReached, RunNotFound, TableNotFound
from projections import Projector
from projections import projector as projector_module
from projections.audit import AuditQueries, Point
from projections.audit.history import RunHistory
from projections.audit.runs import RunReader
from projections.audit.state import state_as_of
from projections.fold import IN_GRAPH_STATE, GraphStateFold, RunState, fold, graph_state
from projections.rows import ROW_TYPES, STATE_ROW_TYPES, columns, from_record, to_record


@hypothesis_settings(
    max_examples=6,
    deadline=None,
    # Each example takes a database of its own: a failure is shown as it was found, not made smaller.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(interleaved(), st.data())
def test_as_of_any_position_is_what_the_projections_held_there(
    settings: Settings, facts: list[Fact], data: st.DataObject
) -> None:
    facts = [fact for fact in facts if can_be_emitted(fact.event_type)]
    positions = data.draw(st.sets(st.integers(1, max(len(facts), 1)), max_size=4))
    asyncio.run(_project_one_by_one(settings, facts, {at for at in positions if at <= len(facts)}))


async def _project_one_by_one(settings: Settings, facts: list[Fact], positions: set[int]) -> None:
    external = settings.model_copy(update={"projection": "external"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(projector_module, "BATCH_EVENTS_MAX", 1)
        async with await Ledger.open(external) as ledger:
            tenant_id = f"t-{uuid4().hex[:12]}"
            await ledger.tenants.create_tenant_db(tenant_id, "A tenant of an example")
            tenant = await ledger.tenant(tenant_id)
            await tenant.emitter.emit_many(
                [fact.to_event(tenant_id) for fact in facts] or [started(tenant, "r")]
            )
            for position, records in (await _held(tenant, len(facts))).items():
                if position in positions:
                    await _compare(tenant, position, records)


async def _held(tenant: Tenant, last: int, first: int = 1) -> dict[int, Records]:
    """What the tables held at each of these positions; a batch is one event."""
    projector = Projector(tenant.store)
    held: dict[int, Records] = {}
    for position in range(first, last + 1):
        await projector.project_batch()
        held[position] = await live_records(tenant)
    await projector.close()
    return held


async def _compare(tenant: Tenant, position: int, held: Records) -> None:
    audit = AuditQueries(tenant)
    for row_type in ROW_TYPES:
        names = list(columns(row_type))
        table = await audit.table_at(row_type.TABLE, position, limit=10_000)
        found = {
            tuple(row[name] for name in row_type.KEY): to_record(row_type(*(row[name] for name in names)))
            for row in table.rows
        }
        assert found == held[row_type.TABLE], row_type.TABLE
    runs = {run_id for (run_id,) in held["runs"]}
    listed = await audit.runs_at(position, limit=1_000)
    assert {run.run_id for run in listed.runs} == runs
    opened = await audit.runs_at(position, status="running", limit=1_000)
    status = list(columns(ROW_TYPES[0])).index("status")
    assert {run.run_id for run in opened.runs} == {
        key[0] for key, record in held["runs"].items() if record[status] == "running"
    }
    for run_id in runs:
        assert await audit.state_at(run_id, position=position) == graph_state(
            _loaded(held, run_id), tenant.tenant_id
        )


async def test_as_of_every_position_each_table_is_what_it_was_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packs that were decided about and audit logs among them, which a property of what can be emitted leaves
    out; and, from its record on, an erasure: what was there before it nobody can tell any more."""
    monkeypatch.setattr(projector_module, "BATCH_EVENTS_MAX", 1)
    external = settings.model_copy(update={"projection": "external"})
    async with await Ledger.open(external) as ledger:
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "A tenant")
        tenant = await ledger.tenant(tenant_id)
        await tenant.prompts.publish("house", {"outline": "one"}, by="ann")
        events = await busy_run(tenant, "r")
        await tenant.prompts.revise("house", {"outline": "two"}, by="ben")
        await tenant.emitter.emit(started(tenant, "other"))
        await tenant.prompts.retire("house", by="ann", reason="worn out")
        last = await tenant.store.head()
        held = await _held(tenant, last)
        assert {table for table, rows in held[last].items() if rows} == {row.TABLE for row in ROW_TYPES}
        for position in range(1, last + 1):
            await _compare(tenant, position, held[position])

        secret = next(event for event in events if event.event_type is EventType.STEP_FAILED)
        erased = await tenant.erase_payload(secret.position, by="ann", reason="asked for")
        await tenant.emitter.emit(started(tenant, "third"))
        since = await _held(tenant, erased.position + 1, first=erased.position)
        assert since[erased.position]["attempts"] != held[last]["attempts"]
        for position, records in since.items():
            await _compare(tenant, position, records)


def _loaded(held: Records, run_id: str) -> RunState:
    state = RunState(run_id)
    for row_type in STATE_ROW_TYPES:
        for key in sorted(key for key in held[row_type.TABLE] if key[0] == run_id):
            state.add(from_record(row_type, held[row_type.TABLE][key]))
    return state


async def test_a_position_a_version_and_a_time_name_the_same_point(tenant: Tenant) -> None:
    await tenant.emitter.emit(started(tenant, "other"))
    events = await busy_run(tenant, "r")
    await tenant.emitter.emit(started(tenant, "third"))
    audit = AuditQueries(tenant)
    for event in (events[0], events[2], events[-1]):
        found = await audit.state("r", event.position)
        assert (found.position, found.version) == (event.position, event.version)
        assert await audit.state("r", Point(version=event.version)) == found
    # One transaction has one time: as of it, all of them had been recorded.
    assert (await audit.state("r", events[0].recorded_at)).version == events[-1].version
    assert await audit.state("r") == await audit.state("r", datetime.now(UTC))
    assert (await audit.state("r", events[3].position)).errors[0].category == "retryable"


async def test_any_time_finds_the_last_position_recorded_by_then(tenant: Tenant) -> None:
    for number in range(7):
        await tenant.emitter.emit(started(tenant, f"run-{number}"))
    reader = RunReader(tenant)
    events = await tenant.store.read()
    for event in events:
        assert await reader.position_at(event.recorded_at) == max(
            other.position for other in events if other.recorded_at <= event.recorded_at
        )
        before = event.recorded_at - timedelta(microseconds=1)
        assert await reader.position_at(before) == sum(other.recorded_at <= before for other in events)
    assert await reader.position_at(datetime(2000, 1, 1, tzinfo=UTC)) == 0
    assert await reader.position_at(datetime(2100, 1, 1, tzinfo=UTC)) == 7


async def test_which_runs_were_open_at_a_point(tenant: Tenant) -> None:
    def ended(run_id: str) -> Event:
        return Event(event_type="run.succeeded", run_id=run_id, tenant_id=tenant.tenant_id)

    for fact in (
        started(tenant, "a"),
        started(tenant, "b"),
        ended("a"),
        started(tenant, "c"),
        started(tenant, "a"),
    ):
        await tenant.emitter.emit(fact)
    audit = AuditQueries(tenant)

    async def opened(at: int) -> list[str]:
        return [run.run_id for run in (await audit.runs_at(at, status="running")).runs]

    assert [await opened(at) for at in range(1, 6)] == [["a"], ["b", "a"], ["b"], ["c", "b"], ["a", "c", "b"]]
    first = await audit.runs_at(limit=2)
    rest = await audit.runs_at(limit=2, after=first.next)
    assert [run.run_id for run in (*first.runs, *rest.runs)] == ["c", "b", "a"]
    assert [run.run_id for run in (await audit.runs_at(3, status="succeeded")).runs] == ["a"]


async def test_where_there_was_nothing_it_says_so_and_names_what_is_like_it(tenant: Tenant) -> None:
    events = await busy_run(tenant, "article-17")
    await tenant.wait_projected(events[-1].position)
    audit = AuditQueries(tenant)
    with pytest.raises(RunNotFound, match="Did you mean 'article-17'"):
        await audit.timeline("artikle-17")
    with pytest.raises(RunNotFound, match="`daicho runs` lists them"):
        await audit.state("zzz")
    with pytest.raises(PositionNotReached, match=r"no position 99\. Expected a position from 1 to 8"):
        await audit.state("article-17", 99)
    with pytest.raises(PositionNotReached, match=r"no version 9\. Expected a version from 1 to 8"):
        await audit.state("article-17", Point(version=9))
    with pytest.raises(PositionNotReached, match=r"no event at that point\. Expected position 1 or later"):
        await audit.state("article-17", datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(PositionNotReached, match="Version 1 of which run"):
        await audit.runs_at(Point(version=1))
    with pytest.raises(TableNotFound, match="Did you mean 'steps'"):
        await audit.table_at("step")


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("17", Point(position=17)),
        ("v4", Point(version=4)),
        ("2026-11-24T12:00+01:00", Point(time=datetime(2026, 11, 24, 11, 0, tzinfo=UTC))),
        ("2026-11-24T12:00", Point(time=datetime(2026, 11, 24, 12, 0).astimezone())),
    ],
)
def test_points_are_read_from_text(text: str, point: Point) -> None:
    assert Point.parse(text) == point
    assert Point.parse(str(point)) == point


@pytest.mark.parametrize("text", ["", "-1", "v", "v-1", "yesterday", "9" * 30, "0001-01-01", "2026-13-01"])
def test_what_names_no_point_is_refused(text: str) -> None:
    with pytest.raises(InvalidPoint):
        Point.parse(text)


def test_a_point_is_one_thing_and_an_instant() -> None:
    with pytest.raises(InvalidPoint, match="a position, a version or a time"):
        Point(position=1, version=1)
    with pytest.raises(ValueError, match="names no instant"):
        Point(time=datetime(2026, 1, 1))


def test_references_are_told_in_utc_wherever_they_were_recorded() -> None:
    output = {**ref("o"), "created_at": "2026-01-01T05:30:00+05:30"}
    history = (
        History().run_started(prompt_pack=PACK).step_started().step_succeeded(outputs={"output": output})
    )
    told = state_as_of(RunHistory.of(TENANT, RUN, history.events)).model_dump(mode="json")
    assert told["step_outputs"]["draft"]["created_at"] == "2026-01-01T00:00:00Z"
    assert told["recorded_at"].endswith("Z")


@given(recorded_histories())
def test_a_graph_state_folded_from_the_few_events_it_comes_from_is_that_of_all(history: History) -> None:
    few, every = dict[str, GraphStateFold](), dict[str, RunState]()
    for event in history.events:
        run_id, kind = event.run_id, event.event_type
        fold(every.setdefault(run_id, RunState(run_id)), event)
        folded = few.setdefault(run_id, GraphStateFold(run_id))
        if isinstance(kind, EventType) and kind in IN_GRAPH_STATE:
            folded.add(kind, event.step_id or "", event.payload or {})
        assert folded.graph_state(TENANT) == graph_state(every[run_id], TENANT)

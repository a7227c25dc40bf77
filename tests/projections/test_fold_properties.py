"""Whatever the events and however they come (one by one, in batches, whole runs at once, with a stop at
any point), the tables are the same: projector, rebuild and verification cannot disagree."""

from collections import Counter
from itertools import cycle

import orjson
from builder import TENANT, Folded, History, Records, Tables, fold_all
from event_strategies import cuts, recorded_histories
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.contract.events import EventType, RecordedEvent
from projections.copy_format import record_encoder_of
from projections.digests import TableDigest
from projections.fold import RunState, fold, graph_state
from projections.rows import ROW_TYPES

bounded = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def _batches(events: list[RecordedEvent], sizes: list[int]) -> list[list[RecordedEvent]]:
    batches, start = [], 0
    for size in cycle(sizes):
        if start >= len(events):
            return batches
        batches.append(events[start : start + size])
        start += size
    return batches


def _project(tables: Tables, states: dict[str, RunState], batch: list[RecordedEvent]) -> None:
    """One transaction of a projector."""
    for event in batch:
        fold(states[event.run_id], event)
    for run_id in {event.run_id for event in batch}:
        tables.write(states[run_id].take_touched())


def _digests(records: Records) -> dict[str, str]:
    digests = {table: TableDigest() for table in records}
    for row_type in ROW_TYPES:
        digests[row_type.TABLE].add(map(record_encoder_of(row_type), records[row_type.TABLE].values()))
    return {table: digest.hexdigest() for table, digest in digests.items()}


def _assert_same(found: Tables, expected: Folded) -> None:
    for table, rows in expected.tables.records().items():
        assert found.records()[table] == rows, table
    assert _digests(found.records()) == _digests(expected.tables.records())


@bounded
@given(recorded_histories(), cuts)
def test_batches_of_any_size_give_the_same_tables(history: History, sizes: list[int]) -> None:
    tables, states = Tables(), {event.run_id: RunState(event.run_id) for event in history.events}
    for batch in _batches(history.events, sizes):
        _project(tables, states, batch)

    _assert_same(tables, history.folded())


@bounded
@given(recorded_histories())
def test_whole_runs_one_after_the_other_give_the_same_tables(history: History) -> None:
    tables = Tables()
    for run_id in sorted({event.run_id for event in history.events}):
        state = RunState(run_id)
        for event in history.events:
            if event.run_id == run_id:
                fold(state, event)
        tables.write(state.take_touched())

    _assert_same(tables, history.folded())


@bounded
@given(recorded_histories(), cuts, st.lists(st.booleans(), min_size=1))
def test_a_stop_at_any_point_gives_the_same_tables(
    history: History, sizes: list[int], stops: list[bool]
) -> None:
    tables, states = Tables(), dict[str, RunState]()
    for batch, stop in zip(_batches(history.events, sizes), cycle(stops), strict=False):
        for event in batch:
            states.setdefault(event.run_id, tables.load(event.run_id))
        _project(tables, states, batch)
        if stop:
            states.clear()  # nothing but the rows is left

    _assert_same(tables, history.folded())


@bounded
@given(recorded_histories())
def test_the_state_in_memory_and_the_state_from_the_rows_say_the_same(history: History) -> None:
    folded = history.folded()
    for run_id, state in folded.states.items():
        said = graph_state(state, TENANT)
        assert said == graph_state(folded.tables.load(run_id), TENANT)
        orjson.dumps(said, default=lambda model: model.model_dump(mode="json"))


@bounded
@given(recorded_histories())
def test_no_reported_error_ever_disappears(history: History) -> None:
    folded = history.folded()
    reported = Counter(
        orjson.dumps(event.payload["error"], option=orjson.OPT_SORT_KEYS)
        for event in history.events
        if event.event_type == EventType.STEP_FAILED and event.payload is not None
    )
    kept = Counter(
        orjson.dumps(attempt.error, option=orjson.OPT_SORT_KEYS)
        for attempt in folded.all_attempts
        if attempt.error is not None
    )
    assert kept == reported
    assert sum(len(graph_state(state, TENANT)["errors"]) for state in folded.states.values()) == sum(
        reported.values()
    )


@bounded
@given(recorded_histories())
def test_what_a_run_counts_is_what_the_other_tables_hold(history: History) -> None:
    folded = history.folded()
    records = folded.tables.records()
    kinds = Counter((event.run_id, str(event.event_type)) for event in history.events)
    for run in folded.runs:

        def held(table: str, run_id: str = run.run_id) -> int:
            return sum(key[0] == run_id for key in records[table])

        assert run.steps == held("steps")
        assert run.attempts == held("attempts")
        assert run.artifacts == held("artifacts")
        assert run.anomalies == held("anomalies")
        assert run.failures == kinds[run.run_id, "step.failed"]
        assert run.retries == kinds[run.run_id, "step.retrying"]
        assert run.repairs == kinds[run.run_id, "repair.applied"]
        last = max(
            event.position
            for event in history.events
            if event.run_id == run.run_id and isinstance(event.event_type, EventType)
        )
        assert run.last_position == last


@bounded
@given(recorded_histories())
def test_attempts_are_numbered_without_gaps_and_versions_of_paths_too(history: History) -> None:
    folded = history.folded()
    records = folded.tables.records()
    ordinals: dict[object, list[int]] = {}
    for run_id, step_id, ordinal in records["attempts"]:
        ordinals.setdefault((run_id, step_id), []).append(ordinal)
    versions: dict[object, list[int]] = {}
    for artifact in folded.artifacts:
        versions.setdefault((artifact.run_id, artifact.path), []).append(artifact.version)
    for numbers in (*ordinals.values(), *versions.values()):
        assert sorted(numbers) == list(range(1, len(numbers) + 1))


@bounded
@given(recorded_histories())
def test_the_fold_changes_nothing_of_what_it_is_given(history: History) -> None:
    before = [tuple(event) for event in history.events]
    first, second = history.folded(), fold_all(history.events)
    assert [tuple(event) for event in history.events] == before
    assert first.tables.records() == second.tables.records()
    assert not any(run.run_id.startswith("$") for run in first.runs)

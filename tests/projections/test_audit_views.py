"""What people read of the audit's answers, on any terminal, whatever was recorded."""

import time
from collections.abc import Iterator

import pytest
from builder import RUN, TENANT, History, error, ref, report
from event_strategies import recorded_histories
from hypothesis import given, settings
from rich.cells import cell_len
from rich.console import RenderableType

from ledger.cli.answers.chart import chart
from ledger.cli.answers.explain import explain_view
from ledger.cli.answers.lineage import lineage_view
from ledger.cli.answers.timeline import entry_line, timeline_view
from ledger.cli.console import PlainConsole
from ledger.cli.render import duration, local_time, offset
from ledger.contract.events import EventType
from projections.audit import Timeline
from projections.audit.explain import explanation_of
from projections.audit.history import RunHistory
from projections.audit.lineage import LineageGraph
from projections.audit.timeline import timeline_of


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _timeline(history: History) -> Timeline:
    return timeline_of(TENANT, RUN, history.events)


def _printed(view: RenderableType, width: int) -> list[str]:
    console = PlainConsole(width=width, highlight=False)
    with console.capture() as captured:
        console.print(view)
    return captured.get().splitlines()


def _explained(history: History, step: str = "draft") -> str:
    folded = RunHistory.of(TENANT, RUN, history.events)
    return "\n".join(_printed(explain_view(explanation_of(folded, step)), 200))


def _article(step: str = "draft") -> History:
    return (
        History()
        .run_started(pipeline="article")
        .step_started(step, actor="ann")
        .step_failed(step, error=error(step, message="connection reset"))
        .step_started(step, attempt=2)
        .step_succeeded(step, attempt=2, outputs={"output": ref("draft.json", step="draft")})
        .run_succeeded()
    )


LONG = "見出し作成ステップ" * 5


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("step", ["draft", "x" * 200, LONG])
def test_everything_is_told_on_any_terminal_whatever_the_steps_are_called(width: int, step: str) -> None:
    found = _timeline(_article(step))
    lines = _printed(timeline_view(found, width), width)
    assert max(map(cell_len, lines)) <= width
    told = " ".join(" ".join(lines).split())
    for entry in found.entries:
        for word in (str(entry.position), f"v{entry.version}", entry.event_type, step[:8]):
            assert word in told
    for word in ("retryable: connection reset", "outputs output", "ann"):
        assert word in told


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("step", ["x" * 200, LONG])
def test_the_bars_of_a_chart_stand_under_each_other_and_attempts_keep_their_numbers(
    width: int, step: str
) -> None:
    lines = [line.plain for line in chart(_timeline(_article(step).step_started("b")), width)]
    assert max(map(cell_len, lines)) <= width
    bars = [cell_len(line[: line.index("█")]) for line in lines[1:]]
    assert bars == sorted(bars)
    assert [line.split("  ")[0][-2:] for line in lines[1:]] == ["#1", "#2", "#1"]


def test_a_clock_that_is_off_presses_no_attempts_into_one_column() -> None:
    history = _article().stored(ref("notes.md"), at=10**7)
    assert [line.plain for line in chart(_timeline(history), 80)] == [
        line.plain for line in chart(_timeline(_article()), 80)
    ]


def test_a_lost_attempt_is_drawn_until_somebody_noticed() -> None:
    history = History().run_started().step_started(at=1).step_lost(at=50).step_started(attempt=2, at=51)
    [lost] = [line.plain for line in chart(_timeline(history), 80) if "#1" in line.plain]
    assert lost.count("?") > 40


def test_a_run_of_which_nothing_can_be_drawn_has_no_empty_chart_and_yet_a_time() -> None:
    first, *_ = lines = _printed(timeline_view(_timeline(History().step_succeeded(at=0)), 200), 200)
    assert "2026-01-01" in first
    assert all(line.strip() for line in lines)


@pytest.mark.usefixtures("berlin")
def test_in_the_hour_that_comes_twice_times_are_told_apart() -> None:
    """On 25 October 2026 in Berlin 02:30 comes at 00:30 and at 01:30 UTC; in December it is winter."""
    history = History().run_started(at=297 * 86_400 - 12 * 3_600 + 1_800).run_succeeded()
    begun = _timeline(history).entries[0].timestamp
    assert local_time(begun) == "2026-10-25 02:30:00+02:00"
    history = History().run_started(at=297 * 86_400 - 12 * 3_600 + 5_400)
    found = _timeline(history)
    assert local_time(found.entries[0].timestamp) == "2026-10-25 02:30:00+01:00"
    assert "2026-10-25 02:30:00+01:00" in _printed(timeline_view(found, 120), 120)[0]


@pytest.mark.parametrize(
    ("milliseconds", "took", "after"),
    [
        (None, "", ""),
        (0, "0 ms", "+0 ms"),
        (59_949, "59.9 s", "+59.9 s"),
        (59_960, "1m00s", "+1m00s"),
        (3_700_000, "1h01m", "+1h01m40s"),
        (3_701_000, "1h01m", "+1h01m41s"),
        (90_000_000, "1d01h", "+1d01h00m00s"),
    ],
)
def test_durations_are_round_and_offsets_tell_apart(milliseconds: int, took: str, after: str) -> None:
    assert (duration(milliseconds), offset(milliseconds)) == (took, after)


@pytest.mark.parametrize("width", [60, 200])
def test_no_attempt_is_named_where_none_was(width: int) -> None:
    stored = {"name": "a.json", "ref": ref("a.json")}
    history = History().run_started().add(EventType.ARTIFACT_STORED, step_id="draft", payload=stored)
    found = _timeline(history)
    told = [*_printed(timeline_view(found, width), width), entry_line(found.entries[-1]).plain]
    assert any("draft" in line for line in told)
    assert not any("#" in line for line in told)


def test_a_repair_names_both_artifacts_and_who_cancelled_is_told() -> None:
    history = (
        History()
        .run_started()
        .step_started()
        .stored(ref("draft.json"))
        .repaired(ref("draft.json"), ref("output.json"))
        .repaired(ref("output.json"), ref("output.json", "whole"))
        .step_lost(last_seen="2026-01-01T12:00:03Z", detected_by="watchdog")
        .run_cancelled(by="ops", reason="too dear")
    )
    [first, second] = [e.summary for e in _timeline(history).entries if e.event_type == "repair.applied"]
    assert ("draft.json " in first, "-> output.json " in first) == (True, True)
    assert second.count("output.json") == 1
    assert [entry.summary for entry in _timeline(history).entries[-2:]] == [
        "noticed by watchdog, last seen 2026-01-01T12:00:03Z",
        "by ops: too dear",
    ]


def test_an_explanation_tells_who_repaired_what_and_what_is_gone() -> None:
    before, after = ref("draft.json", "{"), ref("output.json", "{}")
    history = (
        History()
        .run_started()
        .step_started(
            timeout_seconds=30,
            engine={"name": "temporal", "workflow_id": "wf-7"},
            prompt={"name": "draft", "version": 2, "digest": "cd" * 32},
        )
        .step_lost(detected_by="watchdog", last_seen="2026-01-01T12:00:01Z")
        .step_started(attempt=2)
        .step_failed(attempt=2, error=error(message="first\nsecond\x1b[31m", details={"host": "h-1"}))
        .step_started(attempt=3)
        .stored(before)
        .repaired(before, after, actor="fixer", note="closed a brace")
        .repaired(after, before, kind="secret")
        .step_succeeded(attempt=3, validation_reports=[
            {**report("length", False), "issues": [{"code": "short", "message": "5 of 500", "location": "$"}]}
        ])
    )  # fmt: skip
    told = _explained(history.erase(9))
    for said in (
        "allowed  30.0 s",
        "workflow_id wf-7",
        "digest cdcdcdcdcdcd",
        "noticed by watchdog, last seen 2026-01-01",
        "error    retryable: first\n           second\N{REPLACEMENT CHARACTER}[31m",
        '{"host":"h-1"}',
        "repair json_fix by fixer at 2026-01-01",
        "before   draft.json",
        "after    output.json",
        "short at $: 5 of 500",
    ):
        assert said in told, said
    assert "secret" not in told
    folded = RunHistory.of(TENANT, RUN, history.events)
    assert [event.position for event in folded.erased] == [9]


def test_a_lineage_says_of_which_runs_something_was_erased() -> None:
    before, after = ref("draft.json", "{"), ref("output.json", "{}")
    history = History().run_started().step_started().stored(before).stored(after).repaired(before, after)
    graph = LineageGraph()
    graph.add(RunHistory.of(TENANT, RUN, history.erase(5).events))
    found = graph.answer(TENANT, [], "both", [], None)
    assert found.erased_in == [RUN]
    assert f"events of {RUN} have been erased" in _printed(lineage_view(found), 200)[-1]


@settings(deadline=None)
@given(recorded_histories())
def test_nothing_that_was_recorded_steers_the_terminal(history: History) -> None:
    for run_id in {event.run_id for event in history.events}:
        events = [event for event in history.events if event.run_id == run_id]
        folded, found = RunHistory.of(TENANT, run_id, events), timeline_of(TENANT, run_id, events)
        views = [explain_view(explanation_of(folded, step)) for step in folded.state.steps]
        views += [timeline_view(found, 100), *map(entry_line, found.entries)]
        assert all(line.isprintable() for view in views for line in _printed(view, 100))

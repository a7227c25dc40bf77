"""What differs: between two points of a run, between two runs, and inside bodies."""

from typing import Any

from builder import RUN, TENANT, History, error, ref, report
from event_strategies import recorded_histories
from hypothesis import given
from hypothesis import strategies as st

from projections.audit.bodies import LINES_SHOWN_MAX, body_change, json_operations
from projections.audit.diff import RunDiff, diff_of
from projections.audit.history import RunHistory

JSON = "application/json"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


def _history(history: History, run_id: str = RUN, upto: int = 10**9) -> RunHistory:
    events = [event for event in history.events if event.run_id == run_id and event.position <= upto]
    return RunHistory.of(TENANT, run_id, events)


def _draft(run: str, body: str, *, model: str = "m", passed: bool = True) -> History:
    return (
        History(run)
        .run_started(config={"tone": "dry"})
        .step_started("outline")
        .step_succeeded("outline", outputs={"output": ref("output.json", "same", step="outline", run=run)})
        .step_started("draft", model=model)
        .stored(ref("notes.md", f"notes of {body}", run=run))
        .step_succeeded(
            "draft",
            outputs={"output": ref("output.json", body, run=run)},
            validation_reports=[report("length", passed)],
        )
        .run_succeeded()
    )


def test_a_run_and_itself_do_not_differ() -> None:
    found = diff_of(_history(_draft("a", "x"), "a"), _history(_draft("a", "x"), "a"))
    assert (found.equal, found.steps, found.steps_equal) == (True, [], 2)


def test_two_runs_differ_in_attempts_reports_outputs_and_artifacts_of_the_steps_that_do() -> None:
    found = diff_of(_history(_draft("a", "x"), "a"), _history(_draft("b", "y", model="n", passed=False), "b"))

    [draft] = found.steps
    assert (draft.step_id, draft.differs) == ("draft", ["attempts", "reports", "outputs", "artifacts"])
    assert draft.a
    assert draft.b
    assert (draft.a.attempts[0].model, draft.b.attempts[0].model) == ("m", "n")
    assert (draft.a.reports[0].passed, draft.b.reports[0].passed) == (True, False)
    assert [change.name for change in (*draft.outputs, *draft.artifacts)] == ["output", "notes.md"]
    assert found.steps_equal == 1


def test_one_run_at_two_points_differs_in_what_came_between() -> None:
    history = (
        History()
        .run_started()
        .step_started()
        .step_failed(error=error(message="no answer"))
        .step_started(attempt=2)
        .step_succeeded(attempt=2, outputs={"output": ref("o")})
        .run_succeeded(outputs={"page": ref("o")})
    )
    found = diff_of(_history(history, upto=3), _history(history))

    assert {change.field: (change.a, change.b) for change in found.run} == {
        "status": ("running", "succeeded")
    }
    [draft] = found.steps
    assert draft.a
    assert draft.b
    assert (draft.a.status, draft.b.status) == ("failed", "succeeded")
    assert [attempt.error_message for attempt in draft.b.attempts] == ["no answer", None]
    assert [(change.name, change.a is None) for change in (*draft.outputs, *found.outputs)] == [
        ("output", True),
        ("page", True),
    ]


@given(recorded_histories(), st.integers(0, 30))
def test_a_diff_is_empty_only_between_equals_and_keeps_its_json_form(history: History, cut: int) -> None:
    if not history.events:
        return
    run_id = history.events[-1].run_id
    whole = _history(history, run_id)
    assert diff_of(whole, _history(history, run_id)).equal
    then = _history(history, run_id, cut)
    if then.last is not None:
        found = diff_of(then, whole)
        assert RunDiff.model_validate_json(found.model_dump_json()) == found
        if then.state.steps.keys() != whole.state.steps.keys():
            assert not found.equal


def test_text_is_compared_line_by_line() -> None:
    change = body_change(b"# Title\nold\nend\n", b"# Title\nnew\nend\n", "text/markdown")
    assert (change.kind, change.lines[3:]) == ("text", [" # Title", "-old", "+new", " end"])


def test_json_is_compared_by_structure_at_json_pointers() -> None:
    before = b'{"a/b": [1, 2, {"c": "x"}], "gone": 1, "kept": null}'
    after = b'{"a/b": [1, {"c": "y"}], "kept": null, "new": {}}'
    change = body_change(before, after, JSON)
    assert [
        (operation.op, operation.path, operation.before, operation.after) for operation in change.operations
    ] == [
        ("replace", "/a~1b/1", "2", '{"c":"y"}'),
        ("remove", "/a~1b/2", '{"c":"x"}', None),
        ("remove", "/gone", "1", None),
        ("add", "/new", None, "{}"),
    ]


def test_of_long_values_the_part_that_differs_is_shown() -> None:
    one, other = ({"text": "x" * 5_000 + word + "y" * 5_000} for word in ("before", "after"))
    [operation] = json_operations(one, other)
    assert operation.before
    assert operation.after
    assert "xbeforey" in operation.before
    assert "xaftery" in operation.after
    assert max(len(operation.before), len(operation.after)) <= 402


def test_what_was_no_json_is_compared_as_text() -> None:
    assert body_change(b'{"a": 1', b'{"a": 1}', JSON).kind == "text"


def test_what_is_no_text_too_large_or_gone_is_only_measured() -> None:
    assert body_change(b"\x00\x01", b"\x00\x02", "image/png").kind == "binary"
    assert body_change(b"x" * 2**20, b"x" * (2**20 + 1), "text/plain").kind == "too_large"
    gone = body_change(None, b"x", "text/plain")
    assert (gone.kind, gone.before_bytes, gone.after_bytes) == ("missing", None, 1)
    long = body_change(b"a\n" * 1_000, b"b\n" * 1_000, "text/plain")
    assert (len(long.lines), long.hidden) == (LINES_SHOWN_MAX, 2_003 - LINES_SHOWN_MAX)


@given(json_values, json_values)
def test_json_without_operations_is_equal_and_equal_json_has_none(one: Any, other: Any) -> None:
    # 1, 1.0 and true are three JSON values and one Python value.
    assert (not list(json_operations(one, other))) == (
        repr(one) == repr(other) or _sorted(one) == _sorted(other)
    )


def _sorted(value: Any) -> str:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()

"""What the events of a step's attempts come to: every attempt has a row, and no error is ever lost."""

import pytest
from builder import History, error, ref, report, seconds

from projections.fold.durations import milliseconds_between


def test_a_step_that_started_runs_its_first_attempt() -> None:
    outline = ref("outline.json", step="outline")
    rows = (
        History()
        .run_started()
        .step_started(
            actor="worker-7",
            inputs=[outline],
            timeout_seconds=30,
            worker="w7",
            model="m-1",
            prompt={"name": "draft", "version": 2},
            engine={"name": "temporal", "workflow_id": "wf"},
        )
        .folded()
    )

    [attempt] = rows.attempts("draft")
    assert (attempt.ordinal, attempt.attempt, attempt.status) == (1, 1, "running")
    assert (attempt.started_at, attempt.started_position, attempt.ended_at) == (seconds(2), 2, None)
    assert (attempt.timeout_seconds, attempt.worker, attempt.model) == (30, "w7", "m-1")
    assert (attempt.prompt, attempt.engine) == (
        {"name": "draft", "version": 2},
        {"name": "temporal", "workflow_id": "wf"},
    )
    assert (attempt.inputs, attempt.actor) == ([outline], "worker-7")
    step = rows.step("draft")
    assert (step.status, step.attempts, step.retries, step.failures) == ("running", 1, 0, 0)
    assert (rows.run().current_step, rows.run().steps, rows.run().attempts) == ("draft", 1, 1)
    assert [row.origin for row in rows.artifacts] == ["input"]


def test_a_step_that_succeeded_has_outputs_usage_reports_and_duration() -> None:
    draft, outline = ref("draft.md"), ref("outline.json", step="outline")
    usage = {"model": "m-1", "input_tokens": 10, "cost": "0.002", "currency": "EUR"}
    rows = (
        History()
        .run_started()
        .step_started(at=10)
        .step_succeeded(
            at=11.25,
            outputs={"output": draft},
            inputs_read=[outline],
            usage=usage,
            validation_reports=[report("schema")],
        )
        .folded()
    )

    [attempt] = rows.attempts("draft")
    assert (attempt.status, attempt.ended_at, attempt.duration_ms) == ("succeeded", seconds(11.25), 1_250)
    assert (attempt.outputs, attempt.inputs_read) == ({"output": draft}, [outline])
    assert (attempt.usage, attempt.validation_reports) == (usage, [report("schema")])
    assert attempt.ended_position == 3
    step = rows.step("draft")
    assert (step.status, step.outputs, step.duration_ms) == ("succeeded", {"output": draft}, 1_250)
    assert sorted(row.origin for row in rows.artifacts) == ["input", "output"]
    assert rows.anomalies == []


def test_a_duration_that_the_event_gives_is_believed() -> None:
    rows = History().run_started().step_started(at=1).step_succeeded(at=9, duration_ms=41.7).folded()
    assert rows.attempts("draft")[0].duration_ms == 42


@pytest.mark.parametrize(
    ("category", "retryable"),
    [("retryable", True), ("non_retryable", False), ("validation_fail", False)],
)
def test_a_failed_attempt_tells_a_machine_whether_it_may_be_retried(category: str, retryable: bool) -> None:
    broken = error("draft", "no room", category=category)
    rows = History().run_started().step_started().step_failed(error=broken, will_retry=False).folded()

    [attempt] = rows.attempts("draft")
    assert (attempt.status, attempt.retryable, attempt.will_retry) == ("failed", retryable, False)
    assert (attempt.error, attempt.error_category, attempt.error_message) == (broken, category, "no room")
    step = rows.step("draft")
    assert (step.status, step.failures, step.error, step.retryable) == ("failed", 1, broken, retryable)
    assert rows.run().failures == 1


def test_a_failed_attempt_that_will_be_retried_leaves_the_step_waiting() -> None:
    rows = History().run_started().step_started().step_failed(will_retry=True, retry_delay_ms=1_500).folded()

    assert rows.step("draft").status == "waiting_for_retry"
    assert rows.attempts("draft")[0].retry_delay_ms == 1_500


def test_every_attempt_of_a_step_keeps_its_own_error() -> None:
    history = History().run_started()
    for number in (1, 2, 3):
        if number > 1:
            history.step_retrying(attempt=number, previous_attempt=number - 1)
        history.step_started(attempt=number)
        history.step_failed(attempt=number, error=error("draft", f"failure {number}", attempt=number))
    rows = history.step_retrying(attempt=4).step_started(attempt=4).step_succeeded(attempt=4).folded()

    attempts = rows.attempts("draft")
    assert [(row.ordinal, row.attempt, row.status) for row in attempts] == [
        (1, 1, "failed"),
        (2, 2, "failed"),
        (3, 3, "failed"),
        (4, 4, "succeeded"),
    ]
    assert [row.error_message for row in attempts] == ["failure 1", "failure 2", "failure 3", None]
    step = rows.step("draft")
    assert (step.status, step.attempts, step.retries, step.failures) == ("succeeded", 4, 3, 3)
    assert (rows.run().attempts, rows.run().retries, rows.run().failures) == (4, 3, 3)
    assert rows.anomalies == []


def test_a_step_lasts_from_its_first_start_to_its_last_end() -> None:
    rows = (
        History()
        .run_started()
        .step_started(at=10)
        .step_failed(at=12)
        .step_started(attempt=2, at=20)
        .step_succeeded(attempt=2, at=23)
        .folded()
    )

    step = rows.step("draft")
    assert (step.started_at, step.ended_at, step.duration_ms) == (seconds(10), seconds(23), 13_000)
    assert [row.duration_ms for row in rows.attempts("draft")] == [2_000, 3_000]


def test_a_reset_that_puts_the_engine_s_counter_back_to_one_gives_a_new_row() -> None:
    rows = (
        History()
        .run_started()
        .step_started(attempt=1)
        .step_failed(attempt=1, error=error("draft", "first"))
        .step_started(attempt=2)
        .step_failed(attempt=2, error=error("draft", "second"))
        .step_started(attempt=1)
        .step_failed(attempt=1, error=error("draft", "after the reset"))
        .folded()
    )

    assert [(row.ordinal, row.attempt, row.error_message) for row in rows.attempts("draft")] == [
        (1, 1, "first"),
        (2, 2, "second"),
        (3, 1, "after the reset"),
    ]
    assert rows.anomalies == ["attempt_went_back"]


def test_an_attempt_number_that_was_left_out_is_an_anomaly() -> None:
    rows = History().run_started().step_started().step_failed().step_started(attempt=4).folded()

    assert [row.attempt for row in rows.attempts("draft")] == [1, 4]
    assert rows.anomalies == ["attempt_skipped"]


def test_a_first_attempt_that_is_not_number_one_is_an_anomaly() -> None:
    assert History().run_started().step_started(attempt=2).folded().anomalies == ["attempt_skipped"]


def test_an_attempt_without_a_number_is_the_first() -> None:
    rows = History().run_started().step_started(attempt=None).step_succeeded(attempt=None).folded()

    assert [(row.attempt, row.status) for row in rows.attempts("draft")] == [(1, "succeeded")]
    assert rows.anomalies == []


def test_an_attempt_reported_lost_is_lost() -> None:
    rows = (
        History()
        .run_started()
        .step_started()
        .step_lost(previous_attempt=1, detected_by="heartbeat", last_seen=seconds(2).isoformat())
        .step_retrying()
        .step_started(attempt=2)
        .step_succeeded(attempt=2)
        .folded()
    )

    lost, second = rows.attempts("draft")
    assert (lost.status, lost.ended_at, lost.ended_position) == ("lost", None, 3)
    assert (lost.lost_by, lost.last_seen_at) == ("heartbeat", seconds(2))
    assert (rows.step("draft").lost, rows.run().lost) == (1, 1)
    assert second.status == "succeeded"
    assert rows.step("draft").status == "succeeded"
    assert rows.anomalies == []


def test_a_step_whose_attempt_is_lost_is_lost() -> None:
    assert History().run_started().step_started().step_lost().folded().step("draft").status == "lost"


@pytest.mark.parametrize("before", ["nothing", "ended", "lost"])
def test_a_loss_of_an_attempt_that_does_not_run_changes_nothing_and_is_an_anomaly(before: str) -> None:
    history = History().run_started()
    if before != "nothing":
        history.step_started()
    if before == "ended":
        history.step_succeeded()
    if before == "lost":
        history.step_lost()
    status = history.folded().step("draft").status if before != "nothing" else "not_started"

    rows = history.step_lost().folded()

    assert rows.anomalies == ["lost_attempt_unknown"]
    assert rows.step("draft").status == status


def test_an_attempt_that_had_no_end_when_the_next_began_is_lost() -> None:
    rows = History().run_started().step_started().step_started(attempt=2).folded()

    assert [(row.status, row.lost_by) for row in rows.attempts("draft")] == [
        ("lost", "the next attempt"),
        ("running", None),
    ]
    assert (rows.step("draft").lost, rows.run().lost) == (1, 1)
    assert rows.anomalies == ["attempt_never_ended"]


def test_an_attempt_that_was_given_up_and_ends_after_all_is_lost_no_more() -> None:
    rows = History().run_started().step_started().step_lost().step_succeeded().folded()

    assert rows.attempts("draft")[0].status == "succeeded"
    assert (rows.step("draft").lost, rows.run().lost) == (0, 0)


def test_a_step_has_the_validation_reports_of_the_attempt_that_ended_last() -> None:
    rows = (
        History()
        .run_started()
        .step_started()
        .step_failed(validation_reports=[report("schema", passed=False)])
        .step_started(attempt=2)
        .step_succeeded(attempt=2, validation_reports=[report("schema")])
        .folded()
    )

    assert rows.step("draft").validation_reports == [report("schema")]
    assert rows.attempts("draft")[0].validation_reports == [report("schema", passed=False)]


def test_a_second_start_of_the_same_attempt_is_an_attempt_of_its_own() -> None:
    rows = History().run_started().step_started().step_started().folded()

    assert [(row.ordinal, row.attempt, row.status) for row in rows.attempts("draft")] == [
        (1, 1, "lost"),
        (2, 1, "running"),
    ]
    assert rows.anomalies == ["attempt_never_ended", "attempt_went_back"]


def test_a_zombie_that_fails_after_it_was_given_up_keeps_its_error() -> None:
    late = error("draft", "the late word")
    rows = History().run_started().step_started().step_lost().step_failed(error=late).folded()

    [attempt] = rows.attempts("draft")
    assert (attempt.status, attempt.error_message, attempt.ended_position) == ("failed", "the late word", 4)
    assert rows.anomalies == ["end_after_lost"]


@pytest.mark.parametrize("word", ["step_succeeded", "step_failed"])
def test_a_zombie_s_word_does_not_end_the_attempt_that_runs_in_its_place(word: str) -> None:
    history = History().run_started().step_started().step_lost().step_started(attempt=2)
    rows = getattr(history, word)(attempt=1).folded()

    assert [row.status for row in rows.attempts("draft")] == [word.removeprefix("step_"), "running"]
    step = rows.step("draft")
    assert (step.status, step.ended_at, step.duration_ms) == ("running", None, None)
    assert rows.anomalies == ["end_after_lost"]


def test_a_zombie_that_fails_after_its_successor_succeeded_leaves_the_step_succeeded() -> None:
    rows = (
        History()
        .run_started()
        .step_started()
        .step_lost()
        .step_started(attempt=2)
        .step_succeeded(attempt=2, at=50)
        .step_failed(attempt=1, at=60, error=error("draft", "the late word"))
        .folded()
    )

    assert [row.error_message for row in rows.attempts("draft")] == ["the late word", None]
    step = rows.step("draft")
    assert (step.status, step.ended_at, step.failures) == ("succeeded", seconds(50), 1)


@pytest.mark.parametrize("end", ["step_succeeded", "step_failed"])
def test_an_end_without_a_start_gets_a_row_of_its_own(end: str) -> None:
    rows = getattr(History().run_started(), end)(attempt=3).folded()

    [attempt] = rows.attempts("draft")
    assert (attempt.ordinal, attempt.attempt, attempt.status) == (1, 3, end.removeprefix("step_"))
    assert (attempt.started_at, attempt.started_position, attempt.duration_ms) == (None, None, None)
    assert rows.anomalies == ["end_without_start"]


@pytest.mark.parametrize("second", ["step_succeeded", "step_failed"])
@pytest.mark.parametrize("first", ["step_succeeded", "step_failed"])
def test_a_second_end_of_one_attempt_gets_a_row_of_its_own(first: str, second: str) -> None:
    history = History().run_started().step_started()
    rows = getattr(getattr(history, first)(), second)().folded()

    assert [(row.ordinal, row.attempt, row.status) for row in rows.attempts("draft")] == [
        (1, 1, first.removeprefix("step_")),
        (2, 1, second.removeprefix("step_")),
    ]
    assert rows.step("draft").status == second.removeprefix("step_")
    assert rows.anomalies == ["end_without_start"]


def test_no_reported_error_ever_disappears() -> None:
    history = History().run_started().step_started()
    for number in range(5):
        history.step_failed(error=error("draft", f"word {number}"))
    rows = history.step_lost().step_succeeded().step_failed(error=error("draft", "the last word")).folded()

    messages = [row.error_message for row in rows.attempts("draft") if row.error]
    assert messages == [*(f"word {number}" for number in range(5)), "the last word"]
    assert rows.step("draft").failures == rows.run().failures == 6


def test_a_retry_of_a_step_that_never_was_attempted_is_an_anomaly() -> None:
    rows = History().run_started().step_retrying().folded()

    assert (rows.step("draft").status, rows.step("draft").retries) == ("waiting_for_retry", 1)
    assert rows.anomalies == ["retry_of_nothing"]


@pytest.mark.parametrize("word", ["step_started", "step_succeeded", "step_failed", "step_retrying"])
def test_a_step_before_its_run_is_recorded_and_is_an_anomaly(word: str) -> None:
    rows = getattr(History(), word)().folded()

    assert "step_before_run" in rows.anomalies
    assert rows.run().status == "not_started"
    assert rows.run().steps == 1


@pytest.mark.parametrize("end", ["run_succeeded", "run_failed", "run_cancelled"])
def test_a_step_after_its_run_is_recorded_and_is_an_anomaly(end: str) -> None:
    rows = getattr(History().run_started(), end)().step_started().folded()

    assert rows.anomalies == ["step_after_run"]
    assert rows.step("draft").status == "running"


def test_an_end_before_its_start_on_another_clock_is_an_anomaly_without_a_duration() -> None:
    rows = History().run_started().step_started(at=10).step_succeeded(at=9).folded()

    assert rows.attempts("draft")[0].duration_ms is None
    assert rows.anomalies == ["ended_before_it_started"]


def test_steps_of_one_run_do_not_mix() -> None:
    rows = (
        History()
        .run_started()
        .step_started("a")
        .step_started("b")
        .step_failed("a")
        .step_succeeded("b")
        .folded()
    )

    assert (rows.step("a").status, rows.step("b").status) == ("failed", "succeeded")
    assert (rows.run().steps, rows.run().attempts, rows.run().current_step) == (2, 2, "b")
    assert rows.anomalies == []


def test_a_duration_is_in_whole_milliseconds_and_never_negative() -> None:
    assert milliseconds_between(seconds(0), seconds(1.9999)) == 1_999
    assert milliseconds_between(seconds(0), seconds(0)) == 0
    assert milliseconds_between(seconds(1), seconds(0)) is None
    assert milliseconds_between(None, seconds(0)) is None


def test_a_whole_number_in_a_column_of_fractions_is_a_fraction() -> None:
    # The database gives back 30.0, and a digest would tell it from 30.
    rows = History().run_started().step_started(timeout_seconds=30).step_failed(retry_delay_ms=5).folded()

    [attempt] = rows.attempts("draft")
    assert (repr(attempt.timeout_seconds), repr(attempt.retry_delay_ms)) == ("30.0", "5.0")

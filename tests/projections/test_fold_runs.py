"""What the events of a whole run come to: given events, when folded, then its row."""

from typing import Any

import pytest
from builder import PACK, RUN, History, error, ref, seconds

from ledger.contract.events import EventType
from ledger.contract.names import TENANT_STREAM


def test_a_run_that_started_is_running_under_the_name_of_its_prompt_pack() -> None:
    source = ref("source.md", step="input")
    rows = (
        History()
        .run_started(
            pipeline="article",
            inputs=[source],
            config={"model": "m"},
            labels={"customer": "x"},
            parent_run_id="parent",
        )
        .folded()
    )

    run = rows.run()
    assert (run.status, run.pipeline, run.parent_run_id) == ("running", "article", "parent")
    assert (run.prompt_pack_id, run.prompt_pack_version, run.prompt_pack_digest) == (
        "mock_pack",
        "3",
        PACK["digest"],
    )
    assert (run.started_at, run.ended_at, run.duration_ms) == (seconds(1), None, None)
    assert (run.inputs, run.config, run.labels) == ([source], {"model": "m"}, {"customer": "x"})
    assert [(row.origin, row.path) for row in rows.artifacts] == [("input", source["path"])]
    assert [(row.action, row.subject) for row in rows.audit] == [("run.started", "mock_pack")]
    assert rows.anomalies == []


def test_a_run_that_succeeded_has_its_outputs_summary_and_duration() -> None:
    page = ref("page.html", step="render")
    rows = History().run_started(at=10).run_succeeded(at=12.5, outputs={"page": page}, summary="ok").folded()

    run = rows.run()
    assert (run.status, run.ended_at, run.duration_ms) == ("succeeded", seconds(12.5), 2_500)
    assert (run.outputs, run.summary) == ({"page": page}, "ok")
    assert [(row.origin, row.digest) for row in rows.artifacts] == [("output", page["digest"])]
    assert rows.anomalies == []


def test_a_run_that_failed_names_the_error_and_the_step_that_failed_it() -> None:
    broken = error("draft", "no room", category="validation_fail")
    rows = History().run_started().step_started().step_failed(error=broken).run_failed(error=broken).folded()

    run = rows.run()
    assert (run.status, run.failing_step, run.failures) == ("failed", "draft", 1)
    assert (run.error, run.error_category, run.error_message) == (broken, "validation_fail", "no room")
    assert rows.anomalies == []


def test_an_error_outside_every_step_leaves_the_failing_step_open() -> None:
    rows = History().run_started().run_failed(error=error("$run", "the disk is full")).folded()

    assert rows.run().failing_step is None
    assert rows.run().error_message == "the disk is full"


def test_a_cancelled_run_says_who_and_why_in_the_audit_log() -> None:
    rows = History().run_started().run_cancelled(by="ann", reason="wrong text", actor="backend").folded()

    assert rows.run().status == "cancelled"
    act = rows.audit[-1]
    assert (act.action, act.actor, act.reason) == ("run.cancelled", "ann", "wrong text")


def test_where_the_payload_names_nobody_the_actor_of_the_event_is_the_accountable_one() -> None:
    rows = History().run_started().run_cancelled(actor="backend").folded()
    assert rows.audit[-1].actor == "backend"


@pytest.mark.parametrize("end", ["run_succeeded", "run_failed", "run_cancelled"])
def test_an_end_without_a_start_is_kept_and_is_an_anomaly(end: str) -> None:
    rows = getattr(History(), end)().folded()

    assert rows.run().status == end.removeprefix("run_")
    assert (rows.run().started_at, rows.run().duration_ms) == (None, None)
    assert rows.anomalies == ["run_end_without_start"]
    assert rows.run().anomalies == 1


@pytest.mark.parametrize("second", ["run_succeeded", "run_failed", "run_cancelled"])
@pytest.mark.parametrize("first", ["run_succeeded", "run_failed", "run_cancelled"])
def test_the_second_end_of_a_run_counts_and_is_an_anomaly(first: str, second: str) -> None:
    rows = getattr(getattr(History().run_started(), first)(), second)().folded()

    assert rows.run().status == second.removeprefix("run_")
    assert rows.anomalies == ["run_ended_twice"]


def test_a_run_restarted_after_a_failure_begins_afresh_and_keeps_its_attempts() -> None:
    rows = (
        History()
        .run_started()
        .step_started()
        .step_failed()
        .run_failed()
        .run_started(at=20, config={"again": True})
        .folded()
    )

    run = rows.run()
    assert (run.status, run.started_at, run.ended_at, run.duration_ms) == ("running", seconds(20), None, None)
    assert (run.error, run.error_category, run.error_message, run.failing_step) == (None, None, None, None)
    assert run.config == {"again": True}
    assert [attempt.error_message for attempt in rows.attempts("draft")] == ["no answer"]
    assert rows.anomalies == ["run_started_again"]
    assert [row.action for row in rows.audit] == ["run.started", "run.started"]


def test_a_run_started_while_it_runs_is_an_anomaly() -> None:
    assert History().run_started().run_started().folded().anomalies == ["run_started_again"]


def test_a_start_that_comes_after_other_events_of_the_run_is_late() -> None:
    rows = History().step_started().run_started().folded()

    assert rows.run().status == "running"
    assert rows.anomalies == ["step_before_run", "run_started_late"]


def test_steps_still_open_when_the_run_succeeds_are_named() -> None:
    rows = History().run_started().step_started("b").step_started("a").run_succeeded().folded()

    assert rows.anomalies == ["run_ended_with_open_steps"]
    assert rows.anomaly_rows[0].message == "still running: a, b"


@pytest.mark.parametrize("end", ["run_failed", "run_cancelled"])
def test_a_run_that_fails_or_is_cancelled_may_leave_steps_open(end: str) -> None:
    rows = getattr(History().run_started().step_started(), end)().folded()

    assert rows.anomalies == []
    assert rows.step("draft").status == "running"


def test_an_end_before_the_start_on_another_clock_gives_no_duration() -> None:
    assert History().run_started(at=10).run_succeeded(at=9).folded().run().duration_ms is None


def test_the_run_tells_the_span_of_its_events() -> None:
    rows = (
        History()
        .run_started(run="another")
        .run_started()
        .step_started()
        .run_started(run="third")
        .step_succeeded()
        .folded()
    )

    run = rows.run()
    assert (run.first_position, run.last_position, run.last_version) == (2, 5, 3)
    assert run.last_recorded_at == seconds(5)


def test_unknown_payload_keys_are_shown_and_harm_nothing() -> None:
    rows = History().run_started(mood="good", budget=3).step_started(colour="red").folded()

    assert rows.run().status == "running"
    assert [(row.code, row.message) for row in rows.anomaly_rows] == [
        ("unknown_payload_keys", "run.started carries budget, mood"),
        ("unknown_payload_keys", "step.started carries colour"),
    ]
    assert rows.run().anomalies == 2


@pytest.mark.parametrize(
    ("event_type", "given", "subject"),
    [
        (EventType.PROMPT_PACK_PUBLISHED, {"pack_id": "seo", "version": 1, "digest": "d"}, "seo"),
        (EventType.PROMPT_PACK_REVISED, {"pack_id": "seo", "version": 2, "reason": "typo"}, "seo"),
        (EventType.PROMPT_PACK_RETIRED, {"pack_id": "seo", "reason": "unused"}, "seo"),
        (EventType.PROJECTION_REBUILT, {"position": 7, "events": 7, "seconds": 0.5}, "position 7"),
        (EventType.BLOBS_COLLECTED, {"position": 9, "deleted": 2, "finished": True}, "position 9"),
        (EventType.PAYLOAD_ERASED, {"position": 3, "by": "ann", "reason": "GDPR"}, "position 3"),
    ],
)
def test_an_administrative_fact_stands_in_the_audit_log_alone(
    event_type: EventType, given: dict[str, Any], subject: str
) -> None:
    rows = History().administrative(event_type, actor="backend", **given).folded()

    assert [(row.run_id, row.action, row.subject) for row in rows.audit] == [
        (TENANT_STREAM, event_type.value, subject)
    ]
    assert rows.audit[0].details == given
    assert (rows.audit[0].reason, rows.audit[0].actor) == (given.get("reason"), given.get("by", "backend"))
    written = {table: len(records) for table, records in rows.tables.records().items() if records}
    assert written == {"audit_logs": 1}


def test_an_administrative_fact_with_unknown_keys_makes_no_run_either() -> None:
    rows = History().administrative(EventType.PROMPT_PACK_PUBLISHED, pack_id="seo", mood="good").folded()

    assert rows.runs == []
    assert rows.anomalies == ["unknown_payload_keys"]


@pytest.mark.parametrize("key", ["pack_id", "by", "reason", "position"])
@pytest.mark.parametrize("value", [5, 1.5, True, ["x"], {"x": 1}])
def test_an_unknown_key_of_an_administrative_fact_never_puts_json_into_a_text_column(
    key: str, value: Any
) -> None:
    for event_type in EventType:
        if event_type.is_administrative:
            act = History().administrative(event_type, **{key: value}).folded().audit[0]
            for text in (act.subject, act.actor, act.reason):
                assert text is None or isinstance(text, str)
            assert act.details == {key: value}


def test_events_of_other_applications_are_passed_over() -> None:
    topic = "shop.domain:Order.Placed"
    rows = (
        History()
        .run_started()
        .add(topic, run="9f0f6b0e-1111", data=b"\x80 not json")
        .add(topic, data=b"{")
        .step_started()
        .folded()
    )

    assert [row.run_id for row in rows.runs] == [RUN]
    assert rows.run().last_position == 4
    assert rows.anomalies == []

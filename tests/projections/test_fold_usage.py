"""What attempts consumed and how long they ran and waited, summed up exactly over steps and runs."""

import json
from decimal import Context, Decimal

from builder import History, seconds
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ledger.contract.times import UtcTime
from projections.fold.times import utc_time

_WIDE = Context(prec=80)
USAGE = {"model": "gpt", "input_tokens": 100, "output_tokens": 20, "cost": "0.10", "currency": "EUR"}


def test_an_attempt_knows_its_tokens_and_its_cost_as_it_was_given() -> None:
    rows = History().run_started().step_started().step_succeeded(usage=USAGE).folded()

    [row] = rows.attempts("draft")
    assert (row.input_tokens, row.output_tokens, row.cost, row.currency) == (100, 20, "0.10", "EUR")


def test_failed_attempts_cost_too() -> None:
    rows = (
        History()
        .run_started()
        .step_started()
        .step_failed(usage=USAGE)
        .step_started(attempt=2)
        .step_succeeded(attempt=2, usage={**USAGE, "cost": "0.203"})
        .folded()
    )

    step, run = rows.step("draft"), rows.run()
    assert (step.input_tokens, step.output_tokens, step.costs) == (200, 40, {"EUR": "0.303"})
    assert (run.input_tokens, run.output_tokens, run.costs) == (200, 40, {"EUR": "0.303"})


def test_costs_of_different_currencies_are_never_added() -> None:
    rows = (
        History()
        .run_started()
        .step_started("draft")
        .step_succeeded("draft", usage={"cost": "1", "currency": "EUR"})
        .step_started("render")
        .step_succeeded("render", usage={"cost": "2.50", "currency": "USD"})
        .step_started("check")
        .step_succeeded("check", usage={"cost": "4"})
        .folded()
    )

    assert rows.run().costs == {"EUR": "1", "USD": "2.50", "XXX": "4"}
    assert rows.step("render").costs == {"USD": "2.50"}


def test_where_nothing_was_said_of_usage_nothing_is_known() -> None:
    rows = History().run_started().step_started().step_succeeded(usage={"model": "gpt"}).folded()

    for row in (*rows.attempts("draft"), rows.step("draft"), rows.run()):
        assert (row.input_tokens, row.output_tokens) == (None, None)
    assert (rows.step("draft").costs, rows.run().costs) == (None, None)


@given(
    st.lists(
        st.decimals(min_value=Decimal("-1e17"), max_value=Decimal("1e17"), places=18).map(lambda d: f"{d:f}"),
        min_size=1,
        max_size=20,
    )
)
def test_sums_of_costs_are_exact(costs: list[str]) -> None:
    history = History().run_started()
    for number, cost in enumerate(costs):
        step = f"step-{number}"
        history.step_started(step).step_succeeded(step, usage={"cost": cost, "currency": "EUR"})

    total = sum(int(Decimal(cost).scaleb(18, _WIDE)) for cost in costs)
    found = history.folded().run().costs["EUR"]  # type: ignore[index]
    assert int(Decimal(found).scaleb(18, _WIDE)) == total
    assert "E" not in found


def test_a_step_tells_running_from_waiting_for_a_worker_and_from_waiting_to_be_tried_again() -> None:
    def offered(at: float) -> dict[str, str]:
        return {"name": "temporal", "scheduled_at": seconds(at).isoformat()}

    rows = (
        History()
        .run_started(at=0)
        .step_started(at=3, engine=offered(1))
        .step_failed(at=7, will_retry=True)
        .step_started(attempt=2, at=20, engine=offered(17))
        .step_succeeded(attempt=2, at=25)
        .folded()
    )

    first, second = rows.attempts("draft")
    assert (first.scheduled_at, first.queue_ms, first.retry_wait_ms) == (seconds(1), 2_000, None)
    assert (second.scheduled_at, second.queue_ms, second.retry_wait_ms) == (seconds(17), 3_000, 10_000)
    for row in (rows.step("draft"), rows.run()):
        assert (row.active_ms, row.queue_ms, row.retry_wait_ms) == (9_000, 5_000, 10_000)
    assert rows.step("draft").duration_ms == 22_000


def test_where_the_engine_does_not_say_when_it_offered_an_attempt_no_queue_is_known() -> None:
    rows = (
        History()
        .run_started(at=0)
        .step_started(at=1)
        .step_failed(at=2)
        .step_started(attempt=2, at=5)
        .folded()
    )

    assert [row.queue_ms for row in rows.attempts("draft")] == [None, None]
    assert (rows.step("draft").queue_ms, rows.step("draft").retry_wait_ms) == (None, 3_000)


def test_failures_are_counted_by_category() -> None:
    history = History().run_started()
    for category in ("retryable", "retryable", "validation_fail", "non_retryable"):
        failure = {"step_id": "draft", "category": category, "message": "no"}
        history.step_started().step_failed(error=failure)

    run = history.folded().run()
    assert (run.failures, run.retryable_failures) == (4, 2)
    assert (run.validation_failures, run.non_retryable_failures) == (1, 1)


_CHECKED = TypeAdapter(UtcTime)


@given(
    st.sampled_from(["2026-01-31T23:59:59", "2024-02-29 00:00", "0001-06-01T12:00", "2026-01-31t01:02"]),
    st.sampled_from(["", ".1", ".123456", ".123456789"]),
    st.sampled_from(["Z", "z", "+00:00", "-11:30", "+0530", "+01", "-00:00"]),
)
def test_a_time_is_read_as_it_was_checked(moment: str, fraction: str, offset: str) -> None:
    text = moment + (fraction if moment.count(":") == 2 else "") + offset
    try:
        checked = _CHECKED.validate_json(json.dumps(text), strict=True)
    except ValueError:
        return  # such a text is in no event
    assert utc_time(text) == checked
    assert utc_time(text).utcoffset() == checked.utcoffset()

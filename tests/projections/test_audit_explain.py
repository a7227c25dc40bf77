"""One step explained: attempts, whether a machine may retry and why, repairs, and who waited."""

import pytest
from builder import RUN, TENANT, History, error, ref, report
from event_strategies import recorded_histories
from hypothesis import given

from ledger.errors import StepNotFound
from projections.audit import StepExplanation
from projections.audit.explain import explanation_of
from projections.audit.history import RunHistory


def _explain(history: History, step: str = "draft") -> StepExplanation:
    return explanation_of(RunHistory.of(TENANT, RUN, history.events), step)


def test_each_attempt_says_whether_a_machine_may_retry_it_and_why() -> None:
    found = _explain(
        History()
        .run_started()
        .step_started()
        .step_failed(error=error(category="retryable"), will_retry=True, retry_delay_ms=500)
        .step_started(attempt=2)
        .step_failed(attempt=2, error=error(category="validation_fail"))
        .step_started(attempt=3)
        .step_failed(attempt=3, error=error(category="non_retryable"))
        .step_started(attempt=4)
        .step_lost(attempt=4)
        .step_started(attempt=5)
    )
    assert [attempt.may_retry for attempt in found.attempts] == [True, False, False, None, None]
    assert [attempt.why.split(":")[0] for attempt in found.attempts] == [
        "the failure is retryable",
        "validation failed",
        "the failure is non_retryable",
        "it ended without a word",
        "it is running, or ended without a word that anybody noticed yet",
    ]
    assert (found.attempts[0].will_retry, found.attempts[0].retry_delay_ms) == (True, 500)


def test_of_an_erased_failure_nobody_may_conclude_anything() -> None:
    [attempt] = _explain(History().run_started().step_started().step_failed().erase(3)).attempts
    assert (attempt.may_retry, attempt.error) == (None, None)
    assert "nobody may conclude" in attempt.why


def test_inputs_outputs_reports_and_repairs_are_told() -> None:
    before, after = ref("draft.json", "{"), ref("draft.json", "{}")
    issue = {"code": "open_brace", "message": "never closed"}
    found = _explain(
        History()
        .run_started()
        .step_started(inputs=[ref("outline.json", step="outline")])
        .stored(before)
        .repaired(before, after, validator="schema", issues=[issue], note="closed it")
        .step_succeeded(
            outputs={"output": after},
            inputs_read=[ref("outline.json", step="outline"), ref("style.md", step="given")],
            validation_reports=[report("schema")],
        )
    )
    [attempt], [repair] = found.attempts, found.repairs
    assert [reference.path.rsplit("/", 1)[-1] for reference in attempt.inputs] == ["outline.json", "style.md"]
    assert attempt.outputs["output"].digest == after["digest"]
    assert [(said.validator, said.passed) for said in attempt.reports] == [("schema", True)]
    assert (repair.kind, repair.validator, repair.note) == ("json_fix", "schema", "closed it")
    assert (repair.issues[0].code, repair.before.digest, repair.after.digest) == (
        "open_brace",
        before["digest"],
        after["digest"],
    )


def test_who_read_what_the_step_made_waited_for_it() -> None:
    made = ref("output.json", step="draft")
    history = (
        History()
        .run_started()
        .step_started("draft")
        .stored(made)
        .step_succeeded("draft", outputs={"output": made})
        .step_started("render", at=9, inputs=[made])
        .step_started("other")
    )
    [waiter] = _explain(history).waiters
    assert (waiter.step_id, waiter.artifacts, waiter.waited_ms) == ("render", ["output.json"], 5_000)
    assert _explain(history, "other").waiters == []


def test_an_unknown_step_is_refused_with_what_is_like_it() -> None:
    with pytest.raises(StepNotFound, match=r"no step 'drafft'.*Did you mean 'draft'"):
        _explain(History().run_started().step_started("draft"), "drafft")
    with pytest.raises(StepNotFound, match="It has no steps"):
        _explain(History().run_started(), "draft")


@given(recorded_histories())
def test_whatever_was_recorded_every_step_can_be_explained(history: History) -> None:
    for run_id in {event.run_id for event in history.events}:
        run = RunHistory.of(TENANT, run_id, [event for event in history.events if event.run_id == run_id])
        for step_id, step in run.state.steps.items():
            found = explanation_of(run, step_id)
            assert len(found.attempts) == step.attempts
            assert StepExplanation.model_validate_json(found.model_dump_json()) == found

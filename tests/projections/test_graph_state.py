"""GraphState: where a run stands, folded from its events, in references only."""

from typing import Any

import orjson
import pytest
from builder import PACK, TENANT, History, error, ref, report

from ledger import ArtifactRef, Event, EventType, GraphState, StepError, Tenant, ValidationReport
from ledger.contract.payloads import CONFIG_BYTES_MAX
from ledger.errors import InvalidEvent
from projections.fold import RunState, graph_state


def _state(history: History) -> GraphState:
    """Folded in memory and, for comparison, read back from the rows: both must say the same."""
    folded = history.folded()
    state = graph_state(folded.states[history.run_id], TENANT)
    assert state == graph_state(folded.tables.load(history.run_id), TENANT)
    return state


def test_before_its_first_event_a_run_stands_nowhere() -> None:
    assert graph_state(RunState("run-1"), TENANT) == GraphState(
        run_id="run-1",
        tenant_id=TENANT,
        current_step=None,
        step_outputs={},
        validation_reports=[],
        errors=[],
        config={},
        metadata={},
    )


def test_the_only_output_of_a_step_stands_under_the_step() -> None:
    draft = ref("draft.md")
    state = _state(History().run_started().step_started().step_succeeded(outputs={"draft.md": draft}))

    assert state["step_outputs"] == {"draft": ArtifactRef.model_validate(draft)}


def test_the_output_named_output_stands_under_the_step_and_the_others_under_their_names() -> None:
    outputs = {"output": ref("output.json"), "links": ref("links.json"), "notes": ref("notes.md")}
    state = _state(History().run_started().step_started().step_succeeded(outputs=outputs))

    assert {key: found.path for key, found in state["step_outputs"].items()} == {
        "draft": outputs["output"]["path"],
        "draft/links": outputs["links"]["path"],
        "draft/notes": outputs["notes"]["path"],
    }


def test_several_outputs_without_one_named_output_stand_under_their_names() -> None:
    outputs = {"a": ref("a"), "b": ref("b")}
    state = _state(History().run_started().step_started().step_succeeded(outputs=outputs))

    assert sorted(state["step_outputs"]) == ["draft/a", "draft/b"]


def test_the_last_success_wins_with_all_its_outputs() -> None:
    state = _state(
        History()
        .run_started()
        .step_started()
        .step_succeeded(outputs={"a": ref("a"), "b": ref("b")})
        .step_started(attempt=2)
        .step_succeeded(attempt=2, outputs={"output": ref("output.json", "second")})
    )

    assert {key: found.digest for key, found in state["step_outputs"].items()} == {
        "draft": ref("output.json", "second")["digest"]
    }


def test_a_later_failure_takes_no_output_away() -> None:
    state = _state(
        History()
        .run_started()
        .step_started()
        .step_succeeded(outputs={"output": ref("o")})
        .step_started(attempt=2)
        .step_failed(attempt=2)
    )

    assert list(state["step_outputs"]) == ["draft"]


def test_a_step_without_outputs_stands_nowhere() -> None:
    assert _state(History().run_started().step_started().step_succeeded())["step_outputs"] == {}


def test_the_errors_of_every_attempt_stand_in_the_order_in_which_they_came() -> None:
    state = _state(
        History()
        .run_started()
        .step_started("b")
        .step_started("a")
        .step_failed("b", error=error("b", "first"))
        .step_failed("a", error=error("a", "second", category="validation_fail"))
        .step_started("b", attempt=2)
        .step_failed("b", attempt=2, error=error("b", "third", attempt=2))
        .step_failed("c", error=error("c", "without a start"))
        .step_started("b", attempt=3)
        .step_succeeded("b", attempt=3)
    )

    assert [found.message for found in state["errors"]] == ["first", "second", "third", "without a start"]
    assert all(isinstance(found, StepError) for found in state["errors"])
    assert [found.is_retryable() for found in state["errors"]] == [True, False, True, True]


def test_the_reports_of_every_attempt_stand_in_the_order_in_which_they_came() -> None:
    state = _state(
        History()
        .run_started()
        .step_started("b")
        .step_started("a")
        .step_failed("b", validation_reports=[report("schema", False), report("length", False)])
        .step_succeeded("a", validation_reports=[report("links")])
        .step_started("b", attempt=2)
        .step_succeeded("b", attempt=2, validation_reports=[report("schema")])
    )

    found = [(report.validator, report.passed) for report in state["validation_reports"]]
    assert found == [("schema", False), ("length", False), ("links", True), ("schema", True)]
    assert all(isinstance(report, ValidationReport) for report in state["validation_reports"])


def test_the_current_step_is_the_last_started_whatever_ended_since() -> None:
    history = History().run_started().step_started("a").step_started("b").step_succeeded("a")
    assert _state(history)["current_step"] == "b"
    assert _state(history.step_started("a", attempt=2))["current_step"] == "a"


def test_config_and_metadata_are_the_config_and_labels_of_the_last_start() -> None:
    history = History().run_started(config={"model": "m"}, labels={"customer": "x"})
    assert (_state(history)["config"], _state(history)["metadata"]) == ({"model": "m"}, {"customer": "x"})

    again = history.run_failed().run_started(config={"model": "n"})
    assert (_state(again)["config"], _state(again)["metadata"]) == ({"model": "n"}, {})


def test_it_can_be_written_as_json_and_holds_references_only() -> None:
    body = "a body that stays in the blob store"
    state = _state(
        History()
        .run_started(config={"a": [1]}, labels={"b": None}, inputs=[ref("in", body)])
        .step_started()
        .stored(ref("draft.md", body))
        .step_failed(validation_reports=[report("schema", False)])
        .step_started(attempt=2)
        .step_succeeded(attempt=2, outputs={"output": ref("draft.md", body)}, summary_of_it="unknown key")
        .run_succeeded(outputs={"page": ref("page", body)}, summary="fine")
    )

    text = orjson.dumps(state, default=lambda model: model.model_dump(mode="json")).decode()
    assert set(orjson.loads(text)) == set(GraphState.__annotations__)
    assert body not in text
    assert ref("draft.md", body)["digest"] in text


@pytest.mark.parametrize("field", ["config", "labels"])
async def test_no_body_fits_into_config_or_labels(tenant: Tenant, field: str) -> None:
    def started(value: dict[str, Any]) -> Event:
        return Event(
            event_type=EventType.RUN_STARTED,
            run_id="run-1",
            tenant_id=tenant.tenant_id,
            payload={"prompt_pack": PACK, field: value},
        )

    largest = "x" * (CONFIG_BYTES_MAX - len(orjson.dumps({"body": ""})))
    await tenant.emitter.emit(started({"body": largest}))
    with pytest.raises(InvalidEvent, match="store it as an artifact"):
        await tenant.emitter.emit(started({"body": largest + "x"}))
    assert await tenant.store.head() == 1

"""An erased payload folds without a word of what it said: the fact stays, its content is gone."""

from collections.abc import Callable

import orjson
import pytest
from builder import TENANT, History, error, ref, report

from ledger.contract.events import EventType
from projections.fold import graph_state

SECRET = "the-name-of-a-person"


def _secret_ref() -> dict[str, object]:
    return {**ref("secret.md"), "path": f"storage/acme/run-1/draft/{SECRET}", "owner": SECRET}


HISTORIES: dict[str, Callable[[], History]] = {
    "run.started": lambda: History().run_started(
        pipeline=SECRET, labels={"who": SECRET}, config={"x": SECRET}, inputs=[_secret_ref()], note=SECRET
    ),
    "run.succeeded": lambda: (
        History().run_started().run_succeeded(summary=SECRET, outputs={SECRET: _secret_ref()})
    ),
    "run.failed": lambda: History().run_started().run_failed(error=error("draft", SECRET)),
    "run.cancelled": lambda: History().run_started().run_cancelled(by=SECRET, reason=SECRET),
    "step.started": lambda: (
        History()
        .run_started()
        .step_started(worker=SECRET, model=SECRET, inputs=[_secret_ref()], prompt={"name": SECRET})
    ),
    "step.succeeded": lambda: (
        History()
        .run_started()
        .step_started()
        .step_succeeded(
            outputs={"output": _secret_ref()}, validation_reports=[report(SECRET)], usage={"model": SECRET}
        )
    ),
    "step.failed": lambda: (
        History().run_started().step_started().step_failed(error=error("draft", SECRET), will_retry=True)
    ),
    "step.retrying": lambda: History().run_started().step_started().step_retrying(error=error("a", SECRET)),
    "step.lost": lambda: (
        History().run_started().step_started().step_lost(previous_attempt=1, detected_by=SECRET)
    ),
    "repair.applied": lambda: History().run_started().repaired(_secret_ref(), ref("after"), note=SECRET),
    "artifact.stored": lambda: History().run_started().stored(_secret_ref()),
    "prompt_pack.published": lambda: History().administrative(
        EventType.PROMPT_PACK_PUBLISHED, pack_id=SECRET, reason=SECRET
    ),
    "prompt_pack.revised": lambda: History().administrative(EventType.PROMPT_PACK_REVISED, pack_id=SECRET),
    "prompt_pack.retired": lambda: History().administrative(EventType.PROMPT_PACK_RETIRED, pack_id=SECRET),
    "projection.rebuilt": lambda: History().administrative(
        EventType.PROJECTION_REBUILT, digests={"runs": SECRET}
    ),
    "payload.erased": lambda: History().administrative(
        EventType.PAYLOAD_ERASED, position=1, by=SECRET, reason=SECRET
    ),
    "blobs.collected": lambda: History().administrative(EventType.BLOBS_COLLECTED, unknown=SECRET),
}


def test_every_event_type_has_such_a_history() -> None:
    assert set(HISTORIES) == {event_type.value for event_type in EventType}


@pytest.mark.parametrize("event_type", sorted(HISTORIES))
def test_nothing_of_an_erased_payload_is_left_in_any_row(event_type: str) -> None:
    history = HISTORIES[event_type]()
    position = len(history.events)
    assert str(history.events[-1].event_type) == event_type
    if event_type not in {"step.retrying", "step.lost"}:  # of these the tables take nothing over anyway
        assert SECRET in str(history.folded().tables.records())

    rows = history.erase(position).folded()

    assert SECRET not in str(rows.tables.records())
    assert rows.states[history.events[-1].run_id]


@pytest.mark.parametrize("event_type", sorted(HISTORIES))
def test_a_run_with_an_erased_payload_goes_on(event_type: str) -> None:
    history = HISTORIES[event_type]()
    history.erase(len(history.events))
    rows = history.step_started(attempt=7).step_failed(attempt=7).run_succeeded().folded()

    assert rows.run().status == "succeeded"
    state = graph_state(rows.states["run-1"], TENANT)
    assert SECRET not in str(state)
    orjson.dumps(state, default=lambda model: model.model_dump(mode="json"))


def test_nobody_may_conclude_anything_from_a_failure_that_was_erased() -> None:
    rows = History().run_started().step_started().step_failed(will_retry=True).erase(3).folded()

    [attempt] = rows.attempts("draft")
    assert (attempt.status, attempt.error, attempt.retryable) == ("failed", None, None)
    assert rows.step("draft").failures == 1


def test_all_payloads_of_a_run_can_be_erased() -> None:
    history = History()
    for make in HISTORIES.values():
        for event in make().events:
            history.add(
                event.event_type, step_id=event.step_id, attempt=event.attempt, run=event.run_id, erased=True
            )
    rows = history.folded()

    assert rows.run().last_position == max(e.position for e in history.events if e.run_id == "run-1")
    assert rows.artifacts == []

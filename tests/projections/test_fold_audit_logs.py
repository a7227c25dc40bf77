"""The audit log has one row per accountable act, with who, what, when and why; of no other event a copy."""

import pytest
from builder import History, error, ref
from test_fold_erasure import HISTORIES

from ledger.contract.events import EventType

ACTS = {
    "run.started",
    "run.cancelled",
    "repair.applied",
    "prompt_pack.published",
    "prompt_pack.revised",
    "prompt_pack.retired",
    "payload.erased",
    "projection.rebuilt",
    "blobs.collected",
}


@pytest.mark.parametrize("event_type", [event_type.value for event_type in EventType])
def test_an_act_has_one_row_and_no_other_event_has_any(event_type: str) -> None:
    history = HISTORIES[event_type]()
    event = history.events[-1]
    rows = [row for row in history.folded().audit if row.position == event.position]
    assert len(rows) == (event_type in ACTS)
    for row in rows:
        assert (row.action, row.occurred_at, row.recorded_at) == (
            event_type,
            event.timestamp,
            event.recorded_at,
        )


def test_who_what_and_why_of_each_kind_of_act() -> None:
    after = ref("after", "{}")
    history = (
        History()
        .run_started(actor="backend")
        .repaired(ref("before"), after, kind="json_fix", note="closed a brace", actor="backend")
        .run_cancelled(by="ann", reason="a holiday")
        .administrative(EventType.PROMPT_PACK_PUBLISHED, pack_id="house", by="ben", reason="the first")
        .administrative(EventType.PAYLOAD_ERASED, position=1, by="dpo", reason="ticket 7")
        .administrative(
            EventType.PROJECTION_REBUILT, position=5, reason="a disk was replaced", actor="backend"
        )
        .step_started()
        .step_failed(error=error())
        .run_succeeded()
    )
    acts = sorted(history.folded().audit, key=lambda row: row.position)
    assert [(row.action, row.actor, row.subject, row.reason) for row in acts] == [
        ("run.started", "backend", "mock_pack", None),
        ("repair.applied", "backend", after["path"], "closed a brace"),
        ("run.cancelled", "ann", None, "a holiday"),
        ("prompt_pack.published", "ben", "house", "the first"),
        ("payload.erased", "dpo", "position 1", "ticket 7"),
        ("projection.rebuilt", "backend", "position 5", "a disk was replaced"),
    ]

"""The models of the contract: what they hold, and what they refuse."""

import dataclasses
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from ledger import (
    ArtifactRef,
    ErrorCategory,
    Event,
    EventType,
    ExecutionContext,
    GraphState,
    StepError,
    StepFailure,
    ValidationIssue,
    ValidationReport,
)
from ledger.contract.artifact_ref import ArtifactPath
from ledger.contract.context import derive_event_id

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
DIGEST = "ab" * 32


def context(**changed: Any) -> ExecutionContext:
    fields: dict[str, Any] = {
        "run_id": "run-1",
        "step_id": "outline",
        "attempt": 2,
        "tenant_id": "acme",
        "started_at": NOW,
    }
    return ExecutionContext(**{**fields, **changed})


def event(**changed: Any) -> Event:
    return Event(**{"event_type": "run.cancelled", "run_id": "run-1", "tenant_id": "acme", **changed})


def test_a_context_as_dict_has_five_fields_and_its_start_in_iso_8601() -> None:
    assert context(timeout_seconds=3.5).to_dict() == {
        "run_id": "run-1",
        "step_id": "outline",
        "attempt": 2,
        "tenant_id": "acme",
        "started_at": "2026-11-24T12:00:00.123456+00:00",
    }


def test_a_context_tells_its_start_in_utc_wherever_it_was_taken() -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert context(started_at=tokyo).to_dict() == context().to_dict()


def test_a_context_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        context().attempt = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant_id": "../acme"},
        {"tenant_id": ""},
        {"tenant_id": None},
        {"run_id": "a/b"},
        {"run_id": "$tenant"},
        {"run_id": 7},
        {"step_id": ""},
        {"step_id": "$run"},
        {"step_id": "a\nb"},
        {"attempt": 0},
        {"attempt": -1},
        {"started_at": datetime(2026, 1, 1)},
        {"timeout_seconds": 0},
        {"timeout_seconds": -1.0},
        {"timeout_seconds": float("nan")},
    ],
)
def test_a_context_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        context(**wrong)


def test_a_derived_id_is_the_same_for_the_same_attempt_and_kind_in_any_time_zone() -> None:
    elsewhere = context(started_at=NOW.astimezone(timezone(timedelta(hours=-5))))
    assert derive_event_id(context(), "step.started") == derive_event_id(elsewhere, "step.started")


def test_a_derived_id_never_changes_from_one_release_to_the_next() -> None:
    assert str(derive_event_id(context(), "step.started")) == "47817cd0-2b7d-546a-a1f8-e9ee4027f37d"


@pytest.mark.parametrize(
    "other",
    [
        {"run_id": "run-2"},
        {"step_id": "draft"},
        {"attempt": 1},
        {"tenant_id": "acme2"},
        {"started_at": NOW + timedelta(microseconds=1)},
    ],
)
def test_a_derived_id_differs_with_every_part_of_the_attempt(other: dict[str, Any]) -> None:
    assert derive_event_id(context(**other), "step.started") != derive_event_id(context(), "step.started")
    assert derive_event_id(context(), "step.failed") != derive_event_id(context(), "step.started")
    assert derive_event_id(context(), "step.started", 1) != derive_event_id(context(), "step.started")


@pytest.mark.parametrize("category", ["retryable", "non_retryable", "validation_fail"])
def test_only_the_category_retryable_is_retryable(category: str) -> None:
    error = StepError(step_id="s", category=ErrorCategory(category), message="m", occurred_at=NOW)
    assert error.is_retryable() is (category == "retryable")


def test_the_categories_are_the_three_of_the_wire() -> None:
    assert [category.value for category in ErrorCategory] == ["retryable", "non_retryable", "validation_fail"]
    assert ErrorCategory.retryable is ErrorCategory.RETRYABLE


def test_a_step_error_has_details_or_none_and_keeps_its_attempt() -> None:
    error = StepError(step_id="s", category="validation_fail", message="m", occurred_at=NOW, attempt=3)
    assert error.details is None
    assert StepError.model_validate_json(error.model_dump_json()) == error


def test_a_step_error_refuses_a_naive_time_and_an_unknown_category() -> None:
    with pytest.raises(ValidationError, match="occurred_at"):
        StepError(step_id="s", category="retryable", message="m", occurred_at=datetime(2026, 1, 1))
    with pytest.raises(ValidationError, match="category"):
        StepError(step_id="s", category="perhaps", message="m", occurred_at=NOW)


def test_a_step_failure_carries_its_category_through_pickling() -> None:
    failure = StepFailure("too short", category="validation_fail", details={"words": 3})
    again = pickle.loads(pickle.dumps(failure))
    assert (str(again), again.category, again.details) == (
        "too short",
        ErrorCategory.VALIDATION_FAIL,
        {"words": 3},
    )


def test_a_step_failure_is_not_retryable_unless_it_says_so() -> None:
    assert StepFailure("no").category is ErrorCategory.NON_RETRYABLE
    with pytest.raises(ValueError, match="perhaps"):
        StepFailure("no", category="perhaps")


def reference(**changed: Any) -> ArtifactRef:
    fields = {"path": "storage/acme/r/s/output.json", "digest": DIGEST, "size_bytes": 1, "created_at": NOW}
    return ArtifactRef(**{**fields, **changed})


@pytest.mark.parametrize(
    "wrong",
    [
        {"digest": DIGEST.upper()},
        {"digest": DIGEST[:-1]},
        {"digest": f"{DIGEST}\n"},
        {"path": ""},
        {"path": "p" * 1025},
        {"size_bytes": -1},
        {"size_bytes": 2**63},
        {"created_at": datetime(2026, 1, 1)},
        {"content_type": ""},
        {"content_type": "text/html\r\nX-Injected: 1"},
    ],
)
def test_a_reference_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        reference(**wrong)


def test_a_reference_is_frozen_and_json_by_default() -> None:
    assert reference().content_type == "application/json"
    with pytest.raises(ValidationError, match="frozen"):
        reference().digest = DIGEST


def test_an_artifact_path_has_five_parts_and_is_written_as_it_was_read() -> None:
    path = "storage/acme/run 1/résumé/output.json"
    assert ArtifactPath.parse(path) == ("acme", "run 1", "résumé", "output.json")
    assert str(ArtifactPath.parse(path)) == path


def test_a_report_holds_its_issues_with_severity_error_unless_they_say_otherwise() -> None:
    report = ValidationReport(
        validator="schema",
        passed=False,
        issues=[ValidationIssue(code="short", message="m", location="/body")],
        checked_at=NOW,
    )
    assert report.issues[0].severity == "error"
    assert ValidationReport.model_validate_json(report.model_dump_json()) == report
    with pytest.raises(ValidationError, match="severity"):
        ValidationIssue(code="c", message="m", severity="fatal")  # type: ignore[arg-type]


def test_a_graph_state_has_the_fields_the_design_names() -> None:
    assert list(GraphState.__annotations__) == [
        "run_id",
        "tenant_id",
        "current_step",
        "step_outputs",
        "validation_reports",
        "errors",
        "config",
        "metadata",
    ]


def test_event_types_are_those_of_the_wire() -> None:
    assert {str(event_type) for event_type in EventType} == {
        *("run.started", "run.succeeded", "run.failed", "run.cancelled"),
        *("step.started", "step.succeeded", "step.failed", "step.retrying", "step.lost"),
        *("repair.applied", "artifact.stored", "projection.rebuilt", "payload.erased"),
        *("prompt_pack.published", "prompt_pack.revised", "prompt_pack.retired"),
        "blobs.collected",
    }


def test_an_event_keeps_its_time_in_utc_and_takes_an_id_of_its_own() -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert event(timestamp=tokyo).timestamp.isoformat() == NOW.isoformat()
    assert event().event_id != event().event_id
    assert event().timestamp.tzinfo is UTC


ENVELOPE_REFUSALS: list[tuple[str, dict[str, Any]]] = [
    ("timestamp", {"timestamp": datetime(2026, 1, 1)}),
    ("timestamp", {"timestamp": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))}),
    ("timestamp", {"timestamp": "yesterday"}),
    ("event_type", {"event_type": "step.exploded"}),
    ("event_type", {"event_type": "STEP.STARTED"}),
    ("event_type", {"event_type": None}),
    ("reserved", {"run_id": "$mine"}),
    ("administrative", {"run_id": "$tenant"}),
    ("administrative", {"event_type": "payload.erased"}),
    ("tenant_id", {"tenant_id": "a b"}),
    ("tenant_id", {"tenant_id": "a/../b"}),
    ("tenant_id", {"tenant_id": ""}),
    ("tenant_id", {"tenant_id": "t" * 65}),
    ("step_id", {"event_type": "step.started"}),
    ("step_id", {"event_type": "step.lost"}),
    ("run_id", {"run_id": "a\nb"}),
    ("run_id", {"run_id": "a\x00b"}),
    ("run_id", {"run_id": "a\x9bb"}),
    ("run_id", {"run_id": "a\u202eb"}),
    ("run_id", {"run_id": "\ud800"}),
    ("run_id", {"run_id": " a"}),
    ("run_id", {"run_id": ""}),
    ("run_id", {"run_id": ".."}),
    ("run_id", {"run_id": "a/b"}),
    ("run_id", {"run_id": "a\\b"}),
    ("run_id", {"run_id": "é" * 128}),
    ("run_id", {"run_id": 7}),
    ("step_id", {"step_id": "\udfff"}),
    ("actor", {"actor": "a\nb"}),
    ("actor", {"actor": "a\x00b"}),
    ("actor", {"actor": "a\x9b31mb"}),
    ("actor", {"actor": "\ud800"}),
    ("actor", {"actor": ""}),
    ("actor", {"actor": "a" * 256}),
    ("traceparent", {"traceparent": "00-xyz"}),
    ("event_id", {"event_id": "not-a-uuid"}),
    ("attempt", {"attempt": 0}),
    ("attempt", {"attempt": 2**31}),
    ("schema_version", {"schema_version": 2}),
    ("schema_version", {"schema_version": 0}),
    ("payload", {"payload": [1]}),
    ("payload", {"payload": {1: 2}}),
    ("surprise", {"surprise": 1}),
]


@pytest.mark.parametrize(
    ("named", "wrong"), ENVELOPE_REFUSALS, ids=[ascii(wrong)[:60] for _, wrong in ENVELOPE_REFUSALS]
)
def test_an_event_refuses_an_envelope_that_is_not_well_formed(named: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=named):
        event(**wrong)


def test_an_event_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        event().run_id = "other"  # type: ignore[misc]

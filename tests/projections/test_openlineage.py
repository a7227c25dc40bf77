"""OpenLineage: what runs and attempts did, as its specification (2-0-2) wants it said."""

from typing import Any

import orjson
import pytest
from builder import RUN, TENANT, History, error, ref
from event_strategies import recorded_histories
from hypothesis import given, settings
from jsonschema import Draft202012Validator, FormatChecker

from ledger import EventType
from ledger.exports.openlineage import RunTrace, facet_schemas, run_events
from tests.exports.openlineage_schema import KNOWN, problems
from tests.exports.openlineage_schema import RUN_EVENT as SPECIFICATION

# What we write is narrower than what the specification (tests/exports/openlineage) lets through.
_FACET = {
    "type": "object",
    "required": ["_producer", "_schemaURL"],
    "properties": {
        "_producer": {"type": "string", "format": "uri"},
        "_schemaURL": {"type": "string", "format": "uri"},
    },
}
_FACETS = {"type": "object", "additionalProperties": _FACET}
_NAMED = {
    "type": "object",
    "required": ["namespace", "name"],
    "properties": {
        "namespace": {"type": "string", "minLength": 1},
        "name": {"type": "string", "minLength": 1},
        "facets": _FACETS,
    },
    "additionalProperties": False,
}
RUN_EVENT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["eventType", "eventTime", "run", "job", "inputs", "outputs", "producer", "schemaURL"],
    "properties": {
        "eventType": {"enum": ["START", "COMPLETE", "ABORT", "FAIL"]},
        "eventTime": {"type": "string", "format": "date-time", "pattern": "Z$"},
        "run": {
            "type": "object",
            "required": ["runId"],
            "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": _FACETS},
            "additionalProperties": False,
        },
        "job": _NAMED,
        "inputs": {"type": "array", "items": _NAMED},
        "outputs": {"type": "array", "items": _NAMED},
        "producer": {"type": "string", "format": "uri"},
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
    },
    "additionalProperties": False,
}
OURS = Draft202012Validator(RUN_EVENT, format_checker=FormatChecker())


def events_of(history: History, run_id: str = RUN) -> list[dict[str, Any]]:
    trace = RunTrace(run_id)
    for event in history.events:
        if event.run_id == run_id:
            trace.fold(event)
    told = run_events(TENANT, trace)
    assert [position for position, _ in told] == sorted(position for position, _ in told)
    return [event for _, event in told]


@settings(deadline=None)
@given(recorded_histories())
def test_whatever_was_recorded_every_run_starts_once_and_ends_once_at_most(history: History) -> None:
    for run_id in {event.run_id for event in history.events}:
        events = events_of(history, run_id)
        kinds: dict[str, list[str]] = {}
        for event in events:
            OURS.validate(orjson.loads(orjson.dumps(event)))
            assert not problems(event)
            kinds.setdefault(event["run"]["runId"], []).append(event["eventType"])
        for said in kinds.values():
            assert said[0] == "START"
            assert len(said) <= 2
            assert "START" not in said[1:]


def test_a_run_and_its_attempts_say_what_they_read_and_made() -> None:
    outline, draft, broken = ref("outline.json"), ref("draft.md"), ref("draft.md", "{")
    events = events_of(
        History()
        .run_started(pipeline="article", inputs=[ref("topic.txt")], parent_run_id="parent")
        .step_started(inputs=[outline])
        .step_failed(error=error(message="connection reset"))
        .step_started(attempt=2, inputs=[outline])
        .add(
            EventType.ARTIFACT_STORED, step_id="draft", attempt=2, payload={"name": "draft.md", "ref": broken}
        )
        .step_succeeded(attempt=2, outputs={"output": draft}, inputs_read=[ref("links.json")])
        .step_started("late")
        .step_lost("late")
        .run_succeeded(outputs={"page": draft})
    )
    said = [(event["job"]["name"], event["eventType"]) for event in events]
    assert said == [
        ("article", "START"),
        ("article.draft", "START"),
        ("article.draft", "FAIL"),
        ("article.draft", "START"),
        ("article.draft", "COMPLETE"),
        ("article.late", "START"),
        ("article.late", "ABORT"),
        ("article", "COMPLETE"),
    ]
    run, _, failed, _, succeeded, _, lost, ended = events
    assert failed["run"]["facets"]["errorMessage"]["message"] == "connection reset"
    assert [each["name"].rpartition("/")[2] for each in succeeded["inputs"]] == ["outline.json", "links.json"]
    made = [each["facets"]["version"]["datasetVersion"] for each in succeeded["outputs"]]
    assert made == [draft["digest"], broken["digest"]]
    assert failed["run"]["facets"]["parent"]["run"]["runId"] == run["run"]["runId"]
    assert run["run"]["facets"]["parent"]["job"]["name"] == "parent"
    assert [each["name"].rpartition("/")[2] for each in run["inputs"]] == ["topic.txt"]
    assert [each["name"] for each in ended["outputs"]] == [draft["path"]]
    assert lost["eventTime"].endswith("Z")


def test_what_was_stored_under_no_attempt_was_made_by_the_one_that_ran_meanwhile() -> None:
    stored = ref("draft.md")
    events = events_of(
        History()
        .run_started()
        .step_started()
        .step_failed()
        .step_started(attempt=2)
        .add(EventType.ARTIFACT_STORED, step_id="draft", payload={"name": "draft.md", "ref": stored})
        .step_succeeded(attempt=2)
    )
    made = {event["eventType"]: [each["name"] for each in event["outputs"]] for event in events}
    assert (made["FAIL"], made["COMPLETE"]) == ([], [stored["path"]])


def test_a_success_after_all_is_no_loss() -> None:
    history = History().run_started().step_started().step_lost().step_succeeded()
    assert [event["eventType"] for event in events_of(history)] == ["START", "START", "COMPLETE"]


def test_administrative_facts_have_no_lineage() -> None:
    history = History().add(EventType.PROJECTION_REBUILT, run="$tenant", payload={"position": 1})
    assert events_of(history, "$tenant") == []


def changed(event: dict[str, Any], *path: str | int, to: Any) -> dict[str, Any]:
    """A copy with something else at `path`."""
    copy: Any = orjson.loads(orjson.dumps(event))
    found = copy
    for name in path[:-1]:
        found = found[name]
    found[path[-1]] = to
    return dict(copy)


WRONG: list[tuple[tuple[str | int, ...], Any]] = [
    (("eventType",), "DONE"),
    (("eventTime",), "soon"),
    (("producer",), "no address"),
    (("schemaURL",), f"{SPECIFICATION}#/$defs/JobEvent"),
    (("run", "runId"), "run-1"),
    (("job",), {"name": "article"}),
    (("job", "facets", "jobType", "processingType"), None),
    (("job", "facets", "jobType", "_producer"), "no address"),
    (("run", "facets", "parent", "run"), {}),
    (("run", "facets", "parent", "run", "runId"), "run-1"),
    (("run", "facets", "errorMessage", "message"), 7),
    (("run", "facets", "daicho", "_schemaURL"), "urn:daicho:no address"),
    (("outputs", 0, "facets", "version", "datasetVersion"), 1),
    (("outputs", 0, "namespace"), None),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=lambda value: str(value)[:50])
def test_what_the_specification_refuses_is_refused_here(path: tuple[str | int, ...], value: Any) -> None:
    history = History().run_started(parent_run_id="parent").step_started()
    history.add(EventType.ARTIFACT_STORED, step_id="draft", attempt=1, payload={"name": "a", "ref": ref("a")})
    events = events_of(history.step_failed(error=error(message="reset")))
    [failed] = [event for event in events if event["eventType"] == "FAIL"]
    assert not problems(failed)
    assert problems(changed(failed, *path, to=value))


def test_every_facet_but_our_own_is_one_that_the_specification_describes() -> None:
    named = {url.partition("#")[0] for url in facet_schemas() if not url.startswith("urn:daicho:")}
    assert named == KNOWN - {SPECIFICATION}

"""Hypothesis strategies for everything the contract allows: any valid event of every type.

`events()` gives events; `event_of(type)` and `payload_of(type)` narrow it down. Payloads hold optional
fields or leave them out, references as models or as plain dicts, unknown keys, nested values, text of
any script, integers of 64 bits and any finite float.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from ledger.contract import ArtifactRef, ErrorCategory, Event, EventType, StepError, ValidationReport
from ledger.contract.events import PAYLOAD_MODELS
from ledger.contract.names import NAME_BYTES_MAX, TENANT_STREAM, is_reserved, name_problem
from ledger.contract.state import ValidationIssue

TENANT = "acme"

storable_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
some_text = storable_text.filter(bool)

_NAME_CHARACTERS = st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"], exclude_characters="/\\")
names = (
    st.text(_NAME_CHARACTERS, min_size=1, max_size=30)
    .map(lambda text: text.strip())
    .filter(lambda name: name_problem(name) is None and not is_reserved(name))
)
longest_names = st.integers(1, NAME_BYTES_MAX).map(lambda size: "n" * size)
tenant_ids = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9_-]|\.(?!\.)){0,63}\Z")

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.one_of(st.just(UTC), zones))

integers_64 = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63)])
)
finite_floats = st.floats(allow_nan=False, allow_infinity=False)
json_scalars = st.one_of(st.none(), st.booleans(), integers_64, finite_floats, storable_text)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(storable_text, inner, max_size=3)),
    max_leaves=8,
)
json_objects = st.dictionaries(storable_text, json_values, max_size=4)
milliseconds = st.one_of(st.integers(0, 10**15), st.floats(0, 1e15))
attempts = st.integers(1, 2**31 - 1)
decimals = st.from_regex(r"\A-?[0-9]{1,18}(\.[0-9]{1,18})?\Z")
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)


@st.composite
def artifact_refs(draw: st.DrawFn) -> ArtifactRef:
    return ArtifactRef(
        path=f"storage/{TENANT}/{draw(names)}/{draw(names)}/{draw(names)}",
        digest=draw(digests),
        content_type=draw(st.sampled_from(["application/json", "text/markdown", "text/html; charset=utf-8"])),
        size_bytes=draw(st.integers(0, 2**63 - 1)),
        created_at=draw(times),
    )


def step_errors() -> st.SearchStrategy[StepError]:
    return st.builds(
        StepError,
        step_id=names,
        category=st.sampled_from(ErrorCategory),
        message=storable_text,
        details=st.none() | json_objects,
        occurred_at=times,
        attempt=st.integers(0, 2**31),
    )


def validation_issues() -> st.SearchStrategy[ValidationIssue]:
    return st.builds(
        ValidationIssue,
        code=storable_text,
        message=storable_text,
        location=st.none() | storable_text,
        severity=st.sampled_from(["info", "warning", "error"]),
    )


def validation_reports() -> st.SearchStrategy[ValidationReport]:
    return st.builds(
        ValidationReport,
        validator=storable_text,
        passed=st.booleans(),
        issues=st.lists(validation_issues(), max_size=2),
        checked_at=times,
    )


def _as_model_or_dict(models: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(models, models.map(lambda model: model.model_dump(mode="json")))


def _with_unknown_keys(known: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """What is known wins: an unknown key never takes its place."""
    unknown = st.dictionaries(storable_text.map(lambda key: f"x-{key}"), json_values, max_size=2)
    return st.builds(lambda extra, fields: {**extra, **fields}, unknown, known)


def _fields(
    required: dict[str, st.SearchStrategy[Any]] | None = None, **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return _with_unknown_keys(st.fixed_dictionaries(required or {}, optional=optional))


_text = st.none() | storable_text
_refs = _as_model_or_dict(artifact_refs())
_ref_lists = st.lists(_refs, max_size=2)
_outputs = st.dictionaries(storable_text, _refs, max_size=2)
_errors = _as_model_or_dict(step_errors())
_reports = st.lists(_as_model_or_dict(validation_reports()), max_size=2)
_versions = st.one_of(integers_64, storable_text)
_summaries = st.one_of(st.none(), storable_text, json_objects)
_pack = _fields({"pack_id": some_text, "version": _versions, "digest": some_text})
_prompt = _fields({"name": storable_text}, version=st.none() | _versions, digest=_text)
_engine = _fields(name=_text, workflow_id=_text, workflow_run_id=_text, activity_id=_text, queue=_text)
_tokens = st.none() | st.integers(0, 2**63 - 1)
_usage = st.none() | _fields(
    model=_text, input_tokens=_tokens, output_tokens=_tokens, cost=st.none() | decimals, currency=_text
)
_ended = {
    "inputs_read": _ref_lists,
    "validation_reports": _reports,
    "usage": _usage,
    "duration_ms": st.none() | milliseconds,
}
_pack_changed = _fields(pack_id=_text, version=st.none() | _versions, digest=_text, reason=_text)

_PAYLOADS: dict[EventType, st.SearchStrategy[dict[str, Any]]] = {
    EventType.RUN_STARTED: _fields(
        {"prompt_pack": _pack},
        pipeline=_text,
        inputs=_ref_lists,
        config=json_objects,
        labels=json_objects,
        parent_run_id=_text,
    ),
    EventType.RUN_SUCCEEDED: _fields(outputs=_outputs, summary=_summaries),
    EventType.RUN_FAILED: _fields({"error": _errors}, outputs=_outputs, summary=_summaries),
    EventType.RUN_CANCELLED: _fields(reason=_text, by=_text),
    EventType.STEP_STARTED: _fields(
        inputs=_ref_lists,
        timeout_seconds=st.none() | st.floats(0, 1e9, exclude_min=True),
        worker=_text,
        engine=st.none() | _engine,
        model=_text,
        prompt=st.none() | _prompt,
    ),
    EventType.STEP_SUCCEEDED: _fields(outputs=_outputs, **_ended),
    EventType.STEP_FAILED: _fields(
        {"error": _errors},
        will_retry=st.none() | st.booleans(),
        retry_delay_ms=st.none() | milliseconds,
        **_ended,
    ),
    EventType.STEP_RETRYING: _fields(
        previous_attempt=st.none() | attempts,
        error=st.none() | _errors,
        delay_ms=st.none() | milliseconds,
    ),
    EventType.STEP_LOST: _fields(
        previous_attempt=st.none() | attempts,
        detected_by=_text,
        last_seen=st.none() | times.map(datetime.isoformat),
    ),
    EventType.REPAIR_APPLIED: _fields(
        {"kind": some_text, "before": _refs, "after": _refs},
        validator=_text,
        issues=st.lists(_as_model_or_dict(validation_issues()), max_size=2),
        note=_text,
    ),
    EventType.ARTIFACT_STORED: _fields({"name": some_text, "ref": _refs}),
    EventType.PROMPT_PACK_PUBLISHED: _pack_changed,
    EventType.PROMPT_PACK_REVISED: _pack_changed,
    EventType.PROMPT_PACK_RETIRED: _pack_changed,
    EventType.PROJECTION_REBUILT: _fields(
        position=st.none() | st.integers(0, 2**63 - 1),
        events=st.none() | st.integers(0, 2**63 - 1),
        seconds=st.none() | st.floats(0, 1e9),
        digests=st.dictionaries(storable_text, digests, max_size=3),
        reason=_text,
    ),
    EventType.PAYLOAD_ERASED: _fields(
        position=st.none() | st.integers(1, 2**63 - 1), event_id=_text, by=_text, reason=_text
    ),
    EventType.BLOBS_COLLECTED: _fields(
        **dict.fromkeys(
            ("position", "mentioned", "listed", "listed_bytes", "deleted", "deleted_bytes"),
            st.none() | st.integers(0, 2**63 - 1),
        ),
        grace_seconds=st.none() | st.floats(0, 1e9),
        seconds=st.none() | st.floats(0, 1e9),
        finished=st.none() | st.booleans(),
    ),
}
assert _PAYLOADS.keys() == PAYLOAD_MODELS.keys()


def payload_of(event_type: EventType) -> st.SearchStrategy[dict[str, Any]]:
    return _PAYLOADS[event_type]


@st.composite
def event_of(
    draw: st.DrawFn,
    event_type: EventType,
    *,
    tenant_id: str = TENANT,
    run_ids: st.SearchStrategy[str] = names,
    step_ids: st.SearchStrategy[str] = names,
) -> Event:
    """A valid event of `event_type`. Administrative ones stand in `$tenant`."""
    step_id = step_ids if event_type.is_of_step else st.none() | step_ids
    return Event(
        event_type=event_type,
        tenant_id=tenant_id,
        run_id=TENANT_STREAM if event_type.is_administrative else draw(run_ids),
        step_id=draw(step_id),
        attempt=draw(st.none() | attempts),
        payload=draw(payload_of(event_type)),
        timestamp=draw(times),
        event_id=draw(st.uuids()),
        actor=draw(st.none() | names),
        traceparent=draw(st.none() | st.just("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
    )


def events(
    tenant_id: str = TENANT, *, only: Callable[[EventType], bool] = lambda _type: True, **narrower: Any
) -> st.SearchStrategy[Event]:
    """Any valid event of any type that `only` lets through."""
    types = [event_type for event_type in EventType if only(event_type)]
    return st.sampled_from(types).flatmap(
        lambda event_type: event_of(event_type, tenant_id=tenant_id, **narrower)
    )

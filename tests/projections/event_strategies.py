"""Facts, for properties: several runs at once, whose events are plausible (what engines really do) and
implausible (what a ledger must take nevertheless), interleaved in any order."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from builder import PACK, START, History, error, ref, report
from hypothesis import strategies as st

from ledger.contract.events import PAYLOAD_MODELS, Event, EventType
from ledger.contract.names import TENANT_STREAM

RUNS = ("run-1", "run-2", "Übung 3")
STEPS = ("outline", "draft", "render")
OTHER_APPLICATION = "shop.domain:Order.Placed"
T = EventType


@dataclass(frozen=True)
class Fact:
    """An event before anybody recorded it. `at` is its own time, in seconds after a fixed one."""

    event_type: EventType | str
    run_id: str
    step_id: str | None = None
    attempt: int | None = None
    at: float = 0.0
    actor: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    erased: bool = False

    def to_event(self, tenant_id: str) -> Event:
        assert isinstance(self.event_type, EventType)
        return Event(
            event_type=self.event_type,
            run_id=self.run_id,
            step_id=self.step_id,
            tenant_id=tenant_id,
            payload=self.payload,
            timestamp=START + timedelta(seconds=self.at),
            attempt=self.attempt,
            actor=self.actor,
        )


def can_be_emitted(kind: EventType | str) -> bool:
    """An erasure records itself and packs are decided: neither can be emitted."""
    return isinstance(kind, EventType) and not kind.is_decided and kind is not EventType.PAYLOAD_ERASED


def history_of(facts: list[Fact]) -> History:
    history = History()
    for fact in facts:
        history.add(
            fact.event_type,
            run=fact.run_id,
            step_id=fact.step_id,
            attempt=fact.attempt,
            at=fact.at,
            actor=fact.actor,
            payload=fact.payload,
            erased=fact.erased,
        )
    return history


_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    _text,
)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_text, inner, max_size=2),
    max_leaves=4,
)
_milliseconds = st.one_of(st.integers(0, 10**15), st.floats(0, 1e15))
_attempts = st.integers(1, 4)
_refs = st.builds(
    lambda name, body, created: {**ref(name, body), "created_at": created},
    st.sampled_from(["a.json", "b.md"]),
    st.sampled_from(["one", "two", "three"]),
    st.sampled_from(
        ["2026-01-01T00:00:00Z", "2026-01-01T05:30:00.1234567+05:30", "1969-12-31T23:59:59.999999Z"]
    ),
)
_ref_lists = st.lists(_refs, max_size=3)
_outputs = st.dictionaries(st.sampled_from(["output", "a.json", "links", "x/y"]), _refs, max_size=3)
_reports = st.lists(st.builds(report, st.sampled_from(["schema", "length"]), st.booleans()), max_size=2)
_errors = st.builds(
    lambda step, message, category, details: error(step, message, category=category, details=details),
    st.sampled_from([*STEPS, "$run"]),
    _text,
    st.sampled_from(["retryable", "non_retryable", "validation_fail"]),
    st.none() | st.dictionaries(_text, _json, max_size=2),
)
_small = st.dictionaries(_text, _json, max_size=2)
# Keys that other types know, and one that none does: where a type does not know them, they hold anything.
_unknown = st.dictionaries(
    st.sampled_from(["by", "reason", "pack_id", "position", "note", "error", "ref", "mood"]),
    _json,
    max_size=2,
)


def _given(
    required: dict[str, Any] | None = None, **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required or {}, optional=optional)


_ends = {
    "inputs_read": _ref_lists,
    "validation_reports": _reports,
    "usage": st.just({"model": "m", "input_tokens": 3, "cost": "0.01"}),
    "duration_ms": _milliseconds,
}
_packs = _given(pack_id=_text, version=st.integers(1, 9) | _text, reason=_text)
_payloads: dict[EventType, st.SearchStrategy[dict[str, Any]]] = {
    T.RUN_STARTED: _given(
        {"prompt_pack": st.just(PACK)}, pipeline=_text, inputs=_ref_lists, config=_small, labels=_small
    ),
    T.RUN_SUCCEEDED: _given(outputs=_outputs, summary=_text | _small),
    T.RUN_FAILED: _given({"error": _errors}, outputs=_outputs),
    T.RUN_CANCELLED: _given(by=_text, reason=_text),
    T.STEP_STARTED: _given(
        inputs=_ref_lists,
        timeout_seconds=st.integers(1, 10**9) | st.floats(0.001, 1e9),
        worker=_text,
        model=_text,
        prompt=st.just({"name": "draft", "version": 2}),
        engine=st.sampled_from(
            [
                {"name": "temporal", "queue": "q"},
                {"name": "temporal", "scheduled_at": "2026-01-01T12:00:05Z"},
                {"name": "temporal", "scheduled_at": "2026-01-01T13:00:30.5+01:00"},
            ]
        ),
    ),
    T.STEP_SUCCEEDED: _given(outputs=_outputs, **_ends),
    T.STEP_FAILED: _given(
        {"error": _errors}, will_retry=st.booleans() | st.none(), retry_delay_ms=_milliseconds, **_ends
    ),
    T.STEP_RETRYING: _given(previous_attempt=_attempts, error=_errors, delay_ms=_milliseconds),
    T.STEP_LOST: _given(previous_attempt=_attempts, detected_by=_text),
    T.REPAIR_APPLIED: _given({"kind": st.just("json_fix"), "before": _refs, "after": _refs}, note=_text),
    T.ARTIFACT_STORED: _given({"name": st.sampled_from(["a.json", "b.md"]), "ref": _refs}),
    T.PROMPT_PACK_PUBLISHED: _packs,
    T.PROMPT_PACK_REVISED: _packs,
    T.PROMPT_PACK_RETIRED: _packs,
    T.PROJECTION_REBUILT: _given(position=st.integers(0, 9), seconds=st.floats(0, 9)),
    T.PAYLOAD_ERASED: _given(position=st.integers(1, 9), by=_text, reason=_text),
    T.BLOBS_COLLECTED: _given(position=st.integers(0, 9), deleted=st.integers(0, 9), finished=st.booleans()),
}
assert set(_payloads) == set(EventType)


@st.composite
def _any_fact(draw: st.DrawFn, event_type: EventType, run_id: str, step_id: str | None = None) -> Fact:
    payload = draw(_payloads[event_type])
    unknown = draw(st.just({}) | _unknown)
    known = PAYLOAD_MODELS[event_type].model_fields
    payload |= {key: value for key, value in unknown.items() if key not in known}
    if step_id is None and (event_type.is_of_step or draw(st.booleans())):
        step_id = draw(st.sampled_from(STEPS))
    return Fact(
        event_type,
        TENANT_STREAM if event_type.is_administrative else run_id,
        step_id,
        draw(st.none() | _attempts),
        draw(st.floats(-5, 500)),
        draw(st.sampled_from([None, "ann", "backend"])),
        payload,
    )


@st.composite
def _implausible(draw: st.DrawFn) -> list[Fact]:
    """Any event after any other."""
    types = draw(st.lists(st.sampled_from(list(EventType)), max_size=15))
    return [draw(_any_fact(event_type, draw(st.sampled_from(RUNS)))) for event_type in types]


@st.composite
def _plausible(draw: st.DrawFn, run_id: str) -> list[Fact]:
    """A run as an engine drives it: steps with retries, losses, zombies, resets, and an end."""
    clock = draw(st.integers(0, 100))
    facts: list[Fact] = []

    def add(event_type: EventType, step: str | None = None, attempt: int | None = None) -> None:
        nonlocal clock
        clock += 1
        given = draw(_payloads[event_type])
        facts.append(Fact(event_type, run_id, step, attempt, clock, None, given))

    add(T.RUN_STARTED)
    for step in draw(st.lists(st.sampled_from(STEPS), max_size=3)):
        attempt = 0
        for fate in [
            *draw(st.lists(st.sampled_from(["fail", "lose", "zombie", "reset"]), max_size=3)),
            "succeed",
        ]:
            attempt = 1 if fate == "reset" else attempt + 1
            if attempt > 1:
                add(T.STEP_RETRYING, step, attempt)
            add(T.STEP_STARTED, step, attempt)
            if fate == "succeed":
                add(T.ARTIFACT_STORED, step, attempt)
                if draw(st.booleans()):
                    add(T.REPAIR_APPLIED, step, attempt)
                add(T.STEP_SUCCEEDED, step, attempt)
            elif fate == "fail":
                add(T.STEP_FAILED, step, attempt)
            elif fate in {"lose", "zombie"}:
                add(T.STEP_LOST, step, attempt)
            if fate == "zombie":
                add(T.STEP_FAILED, step, attempt)
    add(draw(st.sampled_from([T.RUN_SUCCEEDED, T.RUN_FAILED, T.RUN_CANCELLED])))
    return facts


@st.composite
def interleaved(draw: st.DrawFn) -> list[Fact]:
    """Facts of several runs and of the tenant; within one source in order, between them in any."""
    sources = [
        draw(_plausible(run_id)) for run_id in draw(st.lists(st.sampled_from(RUNS), max_size=2, unique=True))
    ]
    sources.append(draw(_implausible()))
    waiting = [list(reversed(source)) for source in sources if source]
    facts: list[Fact] = []
    while waiting:
        source = waiting[draw(st.integers(0, len(waiting) - 1))]
        facts.append(source.pop())
        waiting = [source for source in waiting if source]
    return facts


@st.composite
def recorded_histories(draw: st.DrawFn) -> History:
    """Interleaved facts as recorded, some erased since, among events of other applications."""
    facts = draw(interleaved())
    for index in draw(st.lists(st.integers(0, max(len(facts) - 1, 0)), max_size=3)):
        if facts:
            facts[index] = Fact(**{**vars(facts[index]), "erased": True})
    if draw(st.booleans()):
        index = draw(st.integers(0, len(facts)))
        facts.insert(index, Fact(OTHER_APPLICATION, draw(st.sampled_from([*RUNS, "order-1"]))))
    return history_of(facts)


cuts = st.lists(st.integers(1, 7), min_size=1, max_size=8)
"""Sizes of batches; after the last one they begin again."""

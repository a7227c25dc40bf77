"""TimelineFold: a run's attempts, what they waited for and what does not fit, and nothing else: no
artifacts, no sums, no rows. What a timeline tells is folded so in a quarter of the time; a property holds it
to what `fold` says of the same events."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ledger.contract.events import PAYLOAD_MODELS, EventType
from projections.fold.durations import milliseconds_between
from projections.fold.runs import ENDED
from projections.fold.times import utc_time

Payload = Mapping[str, Any]
_NOT_ENDED = ("running", "lost")


class Told(Protocol):
    """As much of an event as is folded: a RecordedEvent is one, and so is an entry of a timeline."""

    @property
    def position(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def event_type(self) -> str: ...
    @property
    def timestamp(self) -> datetime: ...
    @property
    def step_id(self) -> str | None: ...
    @property
    def attempt(self) -> int | None: ...
    @property
    def actor(self) -> str | None: ...


@dataclass(slots=True)
class AttemptSpan:
    """One attempt from its start to its end; either time is None where nothing recorded it. It waited
    `retry_wait_ms` from the end of the attempt before it, then `queue_ms` for a worker where the engine
    said when it was offered. `prompt` is name and version, `prompt_digest` that of its template; the pack is
    the run's, its digest that of all its prompts; `ordinal` counts a step's attempts."""

    step_id: str
    ordinal: int
    attempt: int
    status: str = "running"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: int | None = None
    retry_wait_ms: int | None = None
    queue_ms: int | None = None
    actor: str | None = None
    worker: str | None = None
    model: str | None = None
    prompt: str | None = None
    prompt_digest: str | None = None
    prompt_pack_id: str | None = None
    prompt_pack_version: str | None = None
    prompt_pack_digest: str | None = None
    error_category: str | None = None
    retryable: bool | None = None
    started_position: int | None = None
    ended_position: int | None = None


@dataclass(slots=True, eq=False)
class TimelineFold:
    """The run under the names of its RunRow; statuses and attempts by step."""

    run_id: str
    status: str = "not_started"
    pipeline: str | None = None
    prompt_pack_id: str | None = None
    prompt_pack_version: str | None = None
    prompt_pack_digest: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: int | None = None
    step_status: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, list[AttemptSpan]] = field(default_factory=dict)
    begun: list[AttemptSpan] = field(default_factory=list)  # those of all steps, in order
    digests: set[str] = field(default_factory=set)
    noted: list[Iterable[Payload]] = field(default_factory=list)  # references not yet among the digests
    odd: list[tuple[str, str]] = field(default_factory=list)

    def add(self, event: Told, payload: Payload) -> AttemptSpan | None:
        """The next event of the run, with its payload, empty where it was erased. Returns the attempt that
        it began or ended, if any."""
        found = _MEANINGS.get(event.event_type)
        if found is None:
            return None  # of another application
        meaning, known_keys = found
        if not known_keys.issuperset(payload):
            unknown = ", ".join(sorted(payload.keys() - known_keys)[:5])
            self.is_odd("unknown_payload_keys", f"{event.event_type} carries {unknown}"[:300])
        return meaning(self, event, payload)

    def take_odd(self) -> list[tuple[str, str]]:
        """What did not fit since the last call: codes and messages."""
        odd, self.odd = self.odd, []
        return odd

    def spans(self) -> list[AttemptSpan]:
        """The attempts of all steps, in the order in which the first word of each was recorded."""
        for span in self.begun:
            span.prompt_pack_id = self.prompt_pack_id
            span.prompt_pack_version = self.prompt_pack_version
            span.prompt_pack_digest = self.prompt_pack_digest
        return list(self.begun)

    def is_odd(self, code: str, message: str) -> None:
        self.odd.append((code, message))

    def is_recorded(self, digest: str) -> bool:
        """Whether any reference so far has the digest. Only repairs ask, so only then it is looked up; most
        repair what was noted last."""
        if self.noted and any(ref["digest"] == digest for ref in self.noted[-1]):
            return True
        self.digests.update([ref["digest"] for refs in self.noted for ref in refs])
        self.noted.clear()
        return digest in self.digests

    def latest(self, step_id: str, number: int, statuses: tuple[str, ...]) -> AttemptSpan | None:
        for attempt in reversed(self.attempts.get(step_id, ())):
            if attempt.attempt == number:
                return attempt if attempt.status in statuses else None
        return None

    def stands(self, attempt: AttemptSpan, status: str) -> None:
        """How the attempt stands, and, where it is the last of its step, the step too."""
        attempt.status = status
        if self.attempts[attempt.step_id][-1] is attempt:
            self.step_status[attempt.step_id] = status


def prompt_text(prompt: Any) -> str | None:
    """Name and, where it was told, version: `draft v2`."""
    if not prompt:
        return None
    version = prompt.get("version")
    return str(prompt["name"]) if version is None else f"{prompt['name']} v{version}"


def prompt_digest(prompt: Any) -> str | None:
    """Of the prompt's template, where it was told."""
    return prompt.get("digest") if prompt else None


def _run_started(run: TimelineFold, event: Told, payload: Payload) -> None:
    if run.status != "not_started":
        run.is_odd("run_started_again", f"run.started while the run was {run.status}")
    elif event.version > 1:
        run.is_odd("run_started_late", "events of the run were recorded before its run.started")
    pack = payload.get("prompt_pack") or {}
    run.status = "running"
    run.pipeline = payload.get("pipeline")
    run.prompt_pack_id = pack.get("pack_id")
    run.prompt_pack_version = None if pack.get("version") is None else str(pack["version"])
    run.prompt_pack_digest = pack.get("digest")
    run.started_at = event.timestamp
    run.ended_at = run.duration_ms = None
    run.noted.append(payload.get("inputs") or ())


def _run_ended(run: TimelineFold, event: Told, payload: Payload) -> None:
    status = event.event_type.removeprefix("run.")
    if run.status == "not_started":
        run.is_odd("run_end_without_start", f"run.{status} before any run.started")
    elif run.status in ENDED:
        run.is_odd("run_ended_twice", f"run.{status} after the run was {run.status}")
    run.status = status
    run.ended_at = event.timestamp
    run.duration_ms = milliseconds_between(run.started_at, event.timestamp)
    if status == "succeeded":
        run.noted.append((payload.get("outputs") or {}).values())
        if still := sorted(step for step, stands in run.step_status.items() if stands == "running"):
            run.is_odd("run_ended_with_open_steps", f"still running: {', '.join(still[:5])}")


def _expect_open_run(run: TimelineFold, event: Told) -> None:
    if run.status == "not_started":
        run.is_odd("step_before_run", f"{event.event_type} before any run.started")
    elif run.status in ENDED:
        run.is_odd("step_after_run", f"{event.event_type} after the run was {run.status}")


def _started(run: TimelineFold, event: Told, payload: Payload) -> AttemptSpan:
    if run.status != "running":
        _expect_open_run(run, event)
    step_id, number, get = event.step_id or "", event.attempt or 1, payload.get
    of_step = run.attempts.setdefault(step_id, [])
    previous = of_step[-1] if of_step else None
    if previous is not None or number > 1:
        _expect_next(run, event, previous, number)
    attempt = AttemptSpan(step_id, len(of_step) + 1, number, "running", event.timestamp)
    attempt.started_position = event.position
    attempt.actor = event.actor
    attempt.worker = get("worker")
    attempt.model = get("model")
    if prompt := get("prompt"):
        attempt.prompt = prompt_text(prompt)
        attempt.prompt_digest = prompt_digest(prompt)
    of_step.append(attempt)
    run.begun.append(attempt)
    run.step_status[step_id] = "running"
    engine = get("engine")
    if engine or previous is not None:
        _note_waits(event, attempt, engine or {}, previous)
    if inputs := get("inputs"):
        run.noted.append(inputs)
    return attempt


def _expect_next(run: TimelineFold, event: Told, last: AttemptSpan | None, number: int) -> None:
    if last is None:
        run.is_odd("attempt_skipped", f"the first recorded attempt is number {number}")
        return
    if last.status == "running":
        run.is_odd("attempt_never_ended", f"attempt {last.attempt} had no end when the next began")
        last.status, last.ended_position = "lost", event.position
    if number <= last.attempt:
        run.is_odd("attempt_went_back", f"attempt {number} began after attempt {last.attempt}")
    elif number > last.attempt + 1:
        run.is_odd("attempt_skipped", f"attempt {number} began after attempt {last.attempt}")


def _note_waits(event: Told, attempt: AttemptSpan, engine: Payload, previous: AttemptSpan | None) -> None:
    scheduled = engine.get("scheduled_at")
    offered_at = event.timestamp
    if scheduled is not None:
        offered_at = utc_time(scheduled)
        attempt.queue_ms = milliseconds_between(offered_at, event.timestamp)
    if previous is not None:
        attempt.retry_wait_ms = milliseconds_between(previous.ended_at, offered_at)


def _ended(run: TimelineFold, event: Told, payload: Payload, status: str) -> AttemptSpan:
    if run.status != "running":
        _expect_open_run(run, event)
    attempt = run.latest(event.step_id or "", event.attempt or 1, _NOT_ENDED)
    if attempt is None or attempt.status == "lost":
        attempt = _ended_unexpectedly(run, event, attempt)
    attempt.ended_at = ended_at = event.timestamp
    attempt.ended_position = event.position
    started_at, given = attempt.started_at, payload.get("duration_ms")
    if started_at is not None and ended_at < started_at:
        run.is_odd("ended_before_it_started", "the end's time lies before the start's")
    attempt.duration_ms = milliseconds_between(started_at, ended_at) if given is None else round(given)
    if read := payload.get("inputs_read"):
        run.noted.append(read)
    run.stands(attempt, status)
    return attempt


def _ended_unexpectedly(run: TimelineFold, event: Told, lost: AttemptSpan | None) -> AttemptSpan:
    """Of an attempt that had been given up, or of one that nobody knows."""
    if lost is not None:
        run.is_odd("end_after_lost", f"attempt {lost.attempt} had been given up for lost")
        return lost
    run.is_odd("end_without_start", f"{event.event_type} of an attempt that is not running")
    step_id = event.step_id or ""
    of_step = run.attempts.setdefault(step_id, [])
    attempt = AttemptSpan(step_id, len(of_step) + 1, event.attempt or 1)
    of_step.append(attempt)
    run.begun.append(attempt)
    return attempt


def _succeeded(run: TimelineFold, event: Told, payload: Payload) -> AttemptSpan:
    if outputs := payload.get("outputs"):
        run.noted.append(outputs.values())
    return _ended(run, event, payload, "succeeded")


def _failed(run: TimelineFold, event: Told, payload: Payload) -> AttemptSpan:
    attempt = _ended(run, event, payload, "failed")
    category = (payload.get("error") or {}).get("category")
    attempt.error_category = category
    attempt.retryable = None if category is None else category == "retryable"
    return attempt


def _retrying(run: TimelineFold, event: Told, payload: Payload) -> None:
    if run.status != "running":
        _expect_open_run(run, event)
    step_id = event.step_id or ""
    if not run.attempts.get(step_id):
        run.is_odd("retry_of_nothing", "step.retrying before any attempt of the step")
    run.step_status[step_id] = "waiting_for_retry"


def _lost(run: TimelineFold, event: Told, payload: Payload) -> AttemptSpan | None:
    step_id = event.step_id or ""
    number = payload.get("previous_attempt") or event.attempt or 1
    run.step_status.setdefault(step_id, "not_started")
    attempt = run.latest(step_id, number, ("running",))
    if attempt is None:
        run.is_odd("lost_attempt_unknown", f"step.lost for attempt {number}, which is not running")
        return None
    attempt.ended_position = event.position
    run.stands(attempt, "lost")
    return attempt


def _stored(run: TimelineFold, event: Told, payload: Payload) -> None:
    if run.status == "not_started":
        run.is_odd("artifact_before_run", "an artifact was stored before any run.started")
    if ref := payload.get("ref"):
        run.noted.append((ref,))


def _repaired(run: TimelineFold, event: Told, payload: Payload) -> None:
    if event.step_id is not None:
        run.step_status.setdefault(event.step_id, "not_started")
    before, after = payload.get("before"), payload.get("after")
    if not before or not after:
        return
    if not run.is_recorded(before["digest"]):
        run.is_odd("repair_of_unknown", f"{before['path']} was not recorded before its repair")
    if before["digest"] == after["digest"]:
        run.is_odd("repair_changed_nothing", "before and after have the same digest")
    run.noted.append((before, after))


def _nothing(_: TimelineFold, __: Told, ___: Payload) -> None:
    """Administrative facts are told, and change nothing of a run."""


_Meaning = Callable[[TimelineFold, Told, Payload], AttemptSpan | None]
_OF_RUNS: Mapping[str, _Meaning] = {
    EventType.RUN_STARTED: _run_started,
    EventType.RUN_SUCCEEDED: _run_ended,
    EventType.RUN_FAILED: _run_ended,
    EventType.RUN_CANCELLED: _run_ended,
    EventType.STEP_STARTED: _started,
    EventType.STEP_SUCCEEDED: _succeeded,
    EventType.STEP_FAILED: _failed,
    EventType.STEP_RETRYING: _retrying,
    EventType.STEP_LOST: _lost,
    EventType.REPAIR_APPLIED: _repaired,
    EventType.ARTIFACT_STORED: _stored,
}
_MEANINGS = {
    kind.value: (_OF_RUNS.get(kind, _nothing), frozenset(model.model_fields))
    for kind, model in PAYLOAD_MODELS.items()
}

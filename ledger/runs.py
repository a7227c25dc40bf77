"""Runs and steps as context managers: entering records the start, leaving records how it ended,
and what the body raised is raised on."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.artifacts import ArtifactStore
from ledger.bodies.body import Content
from ledger.contract.artifact_ref import ArtifactPath, ArtifactRef
from ledger.contract.context import ExecutionContext, derive_event_id
from ledger.contract.errors import StepError
from ledger.contract.events import Event, EventType, RecordedEvent
from ledger.contract.names import RUN_LEVEL
from ledger.contract.state import ValidationIssue, ValidationReport
from ledger.emitter import EventEmitter
from ledger.errors import InvalidEvent
from ledger.failures import Classifier, step_error
from ledger.logs import bound_context
from ledger.prompts import PromptPack


@dataclass(frozen=True)
class Recording:
    """What a run and its steps write through. `actor` is who is doing it, as the events will say."""

    tenant_id: str
    emitter: EventEmitter
    artifacts: ArtifactStore
    actor: str | None = None


class Step:
    """One attempt of a step, while its body runs. `error` is set once the body has failed."""

    def __init__(self, recording: Recording, context: ExecutionContext) -> None:
        self.context = context
        self.error: StepError | None = None
        self._recording = recording
        self._ordinals: dict[str, int] = {}
        self._inputs_read: list[ArtifactRef] = []
        self._outputs: dict[str, ArtifactRef] = {}
        self._reports: list[ValidationReport] = []
        self._usage: dict[str, Any] | None = None

    async def get(self, ref: ArtifactRef) -> bytes:
        """The body of `ref`, which is noted as an input of this attempt."""
        content = await self._recording.artifacts.get(ref)
        if ref not in self._inputs_read:
            self._inputs_read.append(ref)
        return content

    async def put(
        self, content: Content, name: str, content_type: str | None = None, *, is_output: bool = True
    ) -> ArtifactRef:
        """Store `content` under this run and step: bytes, str, a Path, an async iterator of bytes, a pydantic
        model or a JSON value; equal values are one blob. Its type is, in this order, `content_type`, what the
        name's extension says, what the kind of content says. It becomes an output of the step, named as the
        file is (`output.json` is the output named `output`), unless `is_output` is False."""
        path = ArtifactPath(self.context.tenant_id, self.context.run_id, self.context.step_id, name)
        ref = await self._recording.artifacts.put(
            content,
            str(path),
            content_type,
            attempt=self.context.attempt,
            event_id=self._next_id(EventType.ARTIFACT_STORED),
        )
        if is_output:
            self._outputs["output" if name.startswith("output.") else name] = ref
        return ref

    async def repaired(
        self,
        *,
        kind: str,
        before: ArtifactRef,
        after: ArtifactRef,
        validator: str | None = None,
        issues: Iterable[ValidationIssue] = (),
        note: str | None = None,
    ) -> RecordedEvent:
        """Record that `before` was repaired and became `after`."""
        payload = _given(
            kind=kind, before=before, after=after, validator=validator, issues=list(issues) or None, note=note
        )
        return await self._emit(EventType.REPAIR_APPLIED, payload)

    def report(self, report: ValidationReport) -> None:
        """Note a validator's report; it is recorded with the end of the attempt."""
        self._reports.append(report)

    def used(
        self,
        *,
        model: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost: str | None = None,
        currency: str | None = None,
    ) -> None:
        """Note what a model call consumed; `cost` is a decimal string."""
        self._usage = _given(
            model=model, input_tokens=input_tokens, output_tokens=output_tokens, cost=cost, currency=currency
        )

    async def _begin(self, details: dict[str, Any], previous_error: StepError | None) -> None:
        start = self._event(EventType.STEP_STARTED, details)
        if self.context.attempt == 1:
            await self._recording.emitter.emit(start)
            return
        retry = self._event(
            EventType.STEP_RETRYING,
            _given(previous_attempt=self.context.attempt - 1, error=previous_error),
        )
        await self._recording.emitter.emit_many([retry, start])

    async def _succeed(self) -> None:
        try:
            await self._emit(
                EventType.STEP_SUCCEEDED, {**self._noted(), **_given(outputs=self._outputs or None)}
            )
        except InvalidEvent as refused:
            # A success that cannot be recorded is a failure, and that one can.
            self.error = step_error(refused, self.context.step_id, self.context.attempt)
            await self._emit(EventType.STEP_FAILED, {"error": self.error})
            raise

    async def _fail(self, error: StepError) -> None:
        self.error = error
        try:
            await self._emit(EventType.STEP_FAILED, {**self._noted(), "error": error})
        except InvalidEvent as refused:
            # The failure is what matters; what was noted beside it cannot be kept.
            await self._emit(EventType.STEP_FAILED, {"error": _with_notes_lost(error, refused)})

    def _noted(self) -> dict[str, Any]:
        return _given(
            inputs_read=self._inputs_read or None,
            validation_reports=self._reports or None,
            usage=self._usage,
        )

    async def _emit(self, event_type: EventType, payload: dict[str, Any]) -> RecordedEvent:
        return await self._recording.emitter.emit_derived(self._event(event_type, payload))

    def _event(self, event_type: EventType, payload: dict[str, Any]) -> Event:
        return Event(
            event_type=event_type,
            tenant_id=self.context.tenant_id,
            run_id=self.context.run_id,
            step_id=self.context.step_id,
            attempt=self.context.attempt,
            payload=payload,
            event_id=self._next_id(event_type),
            actor=self._recording.actor,
        )

    def _next_id(self, event_type: EventType) -> Any:
        ordinal = self._ordinals.get(event_type, 0)
        self._ordinals[event_type] = ordinal + 1
        return derive_event_id(self.context, event_type.value, ordinal)


class Run:
    """A run, while its body runs. `outputs` and `summary`, where set, are recorded with its success."""

    def __init__(
        self,
        recording: Recording,
        context: ExecutionContext,
        prompt_pack: PromptPack,
        classify: Classifier | None,
    ) -> None:
        self.run_id = context.run_id
        self.prompt_pack = prompt_pack
        self.outputs: dict[str, ArtifactRef] = {}
        self.summary: str | dict[str, Any] | None = None
        self._recording = recording
        self._context = context
        self._classify = classify
        self._attempts: dict[str, int] = {}
        self._errors: dict[str, StepError] = {}
        self._last_failure: tuple[BaseException, StepError] | None = None

    @asynccontextmanager
    async def step(
        self,
        step_id: str,
        *,
        attempt: int | None = None,
        timeout_seconds: float | None = None,
        classify: Classifier | None = None,
        **details: Any,
    ) -> AsyncIterator[Step]:
        """One attempt of a step: `attempt` counts on from this run's last one unless it is given.
        `details` are fields of step.started: inputs, model, prompt, worker, engine."""
        number = self._attempts.get(step_id, 0) + 1 if attempt is None else attempt
        self._attempts[step_id] = number
        context = ExecutionContext(
            self.run_id, step_id, number, self._recording.tenant_id, datetime.now(UTC), timeout_seconds
        )
        step = Step(self._recording, context)
        try:
            body = record_step(
                step, classify or self._classify, details, previous_error=self._errors.get(step_id)
            )
            async with body:
                yield step
        except BaseException as raised:
            if step.error is not None:
                self._errors[step_id] = step.error
                self._last_failure = (raised, step.error)
            raise

    async def _start(self, payload: dict[str, Any]) -> None:
        await self._emit(EventType.RUN_STARTED, payload)

    async def _end(self, raised: BaseException | None) -> None:
        noted = _given(outputs=self.outputs or None, summary=self.summary)
        if raised is None:
            await self._succeed(noted)
        elif isinstance(raised, asyncio.CancelledError):
            reason = str(raised) or "the task was cancelled"
            await self._emit(EventType.RUN_CANCELLED, _given(reason=reason, by=self._recording.actor))
        else:
            await self._fail(self._error_of(raised), noted)

    async def _succeed(self, noted: dict[str, Any]) -> None:
        try:
            await self._emit(EventType.RUN_SUCCEEDED, noted)
        except InvalidEvent as refused:
            await self._emit(EventType.RUN_FAILED, {"error": step_error(refused, RUN_LEVEL, 1)})
            raise

    async def _fail(self, error: StepError, noted: dict[str, Any]) -> None:
        try:
            await self._emit(EventType.RUN_FAILED, {**noted, "error": error})
        except InvalidEvent as refused:
            await self._emit(EventType.RUN_FAILED, {"error": _with_notes_lost(error, refused)})

    def _error_of(self, raised: BaseException) -> StepError:
        if self._last_failure is not None and self._last_failure[0] is raised:
            return self._last_failure[1]
        return step_error(raised, RUN_LEVEL, 1, self._classify)

    async def _emit(self, event_type: EventType, payload: dict[str, Any]) -> None:
        await self._recording.emitter.emit(
            Event(
                event_type=event_type,
                tenant_id=self._recording.tenant_id,
                run_id=self.run_id,
                payload=payload,
                event_id=derive_event_id(self._context, event_type.value),
                actor=self._recording.actor,
            )
        )


@asynccontextmanager
async def record_run(
    recording: Recording,
    run_id: str,
    pack: PromptPack,
    details: Mapping[str, Any],
    classify: Classifier | None,
) -> AsyncIterator[Run]:
    """Records run.started with `details`, then how the body ended."""
    context = ExecutionContext(run_id, "run", 1, recording.tenant_id, datetime.now(UTC))
    run = Run(recording, context, pack, classify)
    await run._start({"prompt_pack": pack.identity(), **_given(**details)})
    try:
        yield run
    except (Exception, asyncio.CancelledError) as raised:
        await _undisturbed(run._end(raised))
        raise
    await _undisturbed(run._end(None))


@asynccontextmanager
async def record_step(
    step: Step,
    classify: Classifier | None,
    details: Mapping[str, Any],
    previous_error: StepError | None = None,
) -> AsyncIterator[Step]:
    """Records step.started with `details` (after step.retrying where this is not the first attempt),
    enforces the context's timeout, then records how the body ended."""
    context = step.context
    with bound_context(context):
        await step._begin(_given(timeout_seconds=context.timeout_seconds, **details), previous_error)
        clock = asyncio.timeout(context.timeout_seconds)
        try:
            async with clock:
                yield step
        except (Exception, asyncio.CancelledError) as raised:
            if clock.expired() and isinstance(raised, TimeoutError) and not raised.args:
                raised.args = (f"timed out after {context.timeout_seconds:g} s",)
            error = step_error(raised, context.step_id, context.attempt, classify)
            await _undisturbed(step._fail(error))
            raise
        await _undisturbed(step._succeed())


async def _undisturbed(recording_of_the_end: Coroutine[Any, Any, None]) -> None:
    # The body has ended, and that is a fact: a cancellation that comes now may stop the waiting,
    # not the recording.
    task = asyncio.create_task(recording_of_the_end)
    _ends.add(task)
    task.add_done_callback(_ends.discard)
    await asyncio.shield(task)


_ends: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references to tasks


def _with_notes_lost(error: StepError, refused: InvalidEvent) -> StepError:
    details = {**(error.details or {}), "notes_not_kept": refused.problem}
    return error.model_copy(update={"details": details})


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that were given: None says nothing and is left out."""
    return {name: value for name, value in fields.items() if value is not None}

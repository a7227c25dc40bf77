"""Runs and steps as context managers: entering records the start, leaving records how it ended,
and what the body raised is raised on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ledger.artifacts import ArtifactStore
from ledger.bodies.body import Content
from ledger.contract.artifact_ref import ArtifactPath, ArtifactRef
from ledger.contract.context import ExecutionContext, derive_event_id
from ledger.contract.errors import StepError
from ledger.contract.events import Event, EventType, RecordedEvent
from ledger.contract.names import RUN_LEVEL
from ledger.contract.state import ValidationIssue, ValidationReport
from ledger.control.llm import ModelRef, Price, model_id_of
from ledger.emitter import EventEmitter
from ledger.errors import DaichoError, InvalidEvent, PriceUnavailable
from ledger.failures import Classifier, step_error
from ledger.logs import bound_context
from ledger.prompts import PromptPack
from ledger.usage import ModelCall

PriceOf = Callable[[str], Awaitable[Price | None]]
"""Asks what a model costs now; raises PriceUnavailable."""


@dataclass(frozen=True)
class Recording:
    """What a run and its steps write through. `actor` is who is doing it, as the events will say."""

    tenant_id: str
    emitter: EventEmitter
    artifacts: ArtifactStore
    price: PriceOf
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
        self._model: str | None = None
        self._usage: ModelCall | None = None

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
        model: ModelRef | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost: str | Decimal | None = None,
        currency: str | None = None,
    ) -> None:
        """Note what a model call consumed; several calls of one attempt are added up. The model is the one
        the step was started with, unless it is given. Without a `cost` (decimal, in `currency`) the cost is
        computed when the attempt's end is recorded, from the catalogue's price at that time; of a model
        without a price none is recorded. Raises InvalidUsage for a second model, or what is no count."""
        named = self._model if model is None else model_id_of(model)
        told = format(cost, "f") if isinstance(cost, Decimal) else cost
        call = ModelCall(named, input_tokens, output_tokens, told, currency)
        self._usage = call if self._usage is None else self._usage.plus(call)

    async def _begin(self, details: dict[str, Any], previous_error: StepError | None) -> None:
        self._model = details.get("model")
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
        now = datetime.now(UTC)
        try:
            noted = self._noted(await self._price())
            await self._emit(
                EventType.STEP_SUCCEEDED, {**noted, **_given(outputs=self._outputs or None)}, now
            )
        except (InvalidEvent, PriceUnavailable) as refused:
            # A success that cannot be recorded is a failure, and that one can.
            self.error = step_error(refused, self.context.step_id, self.context.attempt)
            kept = self._noted() if isinstance(refused, PriceUnavailable) else {}
            await self._emit(EventType.STEP_FAILED, {**kept, "error": self.error}, now)
            raise

    async def _fail(self, error: StepError) -> None:
        self.error = error
        now = datetime.now(UTC)
        try:
            noted = self._noted(await self._price())
        except PriceUnavailable as unknown:
            noted, error = self._noted(), _with_notes_lost(error, unknown)
        try:
            await self._emit(EventType.STEP_FAILED, {**noted, "error": error}, now)
        except InvalidEvent as refused:
            # The failure is what matters; what was noted beside it cannot be kept.
            await self._emit(EventType.STEP_FAILED, {"error": _with_notes_lost(error, refused)}, now)

    async def _price(self) -> Price | None:
        used = self._usage
        if used is None or used.model is None or used.cost is not None:
            return None
        return await self._recording.price(used.model)

    def _noted(self, price: Price | None = None) -> dict[str, Any]:
        return _given(
            inputs_read=self._inputs_read or None,
            validation_reports=self._reports or None,
            usage=self._usage and self._usage.payload_at(price),
        )

    async def _emit(
        self, event_type: EventType, payload: dict[str, Any], timestamp: datetime | None = None
    ) -> RecordedEvent:
        return await self._recording.emitter.emit_derived(self._event(event_type, payload, timestamp))

    def _event(
        self, event_type: EventType, payload: dict[str, Any], timestamp: datetime | None = None
    ) -> Event:
        return Event(
            timestamp=timestamp or datetime.now(UTC),
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
        model: ModelRef | None = None,
        prompt: str | Mapping[str, Any] | None = None,
        **details: Any,
    ) -> AsyncIterator[Step]:
        """One attempt of a step: `attempt` counts on from this run's last one unless it is given.

        `model` is the one it uses, as `ledger.llm.resolve(step_id)` gives it or by name: none is looked up
        here. `prompt` names a prompt of the run's pack, recorded with its version and digest; raises
        PromptNotFound. `details` are other fields of step.started: inputs, worker, engine."""
        if isinstance(prompt, str):
            prompt = self.prompt_pack.prompt_identity(prompt)
        details = {"model": model, "prompt": prompt, **details}
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
    model = details.get("model")
    started = {**details, "model": model and model_id_of(model), "timeout_seconds": context.timeout_seconds}
    with bound_context(context):
        await step._begin(_given(**started), previous_error)
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


def _with_notes_lost(error: StepError, refused: DaichoError) -> StepError:
    details = {**(error.details or {}), "notes_not_kept": refused.problem}
    return error.model_copy(update={"details": details})


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that were given: None says nothing and is left out."""
    return {name: value for name, value in fields.items() if value is not None}

"""A step: one attempt, from step.started to how it ended."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ledger.bodies.body import Content
from ledger.contract.artifact_ref import ArtifactPath, ArtifactRef
from ledger.contract.context import ExecutionContext, derive_event_id
from ledger.contract.errors import StepError
from ledger.contract.events import Event, EventType, RecordedEvent
from ledger.contract.state import ValidationIssue, ValidationReport
from ledger.control.llm import ModelRef, Price, model_id_of
from ledger.errors import InvalidEvent, PriceUnavailable
from ledger.failures import Classifier, step_error
from ledger.logs import bound_context
from ledger.runs.recording import Recording, given, undisturbed, with_notes_lost
from ledger.usage import ModelCall


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
        payload = given(
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
            given(previous_attempt=self.context.attempt - 1, error=previous_error),
        )
        await self._recording.emitter.emit_many([retry, start])

    async def _succeed(self) -> None:
        now = datetime.now(UTC)
        try:
            noted = self._noted(await self._price())
            await self._emit(EventType.STEP_SUCCEEDED, {**noted, **given(outputs=self._outputs or None)}, now)
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
            noted, error = self._noted(), with_notes_lost(error, unknown)
        try:
            await self._emit(EventType.STEP_FAILED, {**noted, "error": error}, now)
        except InvalidEvent as refused:
            # The failure is what matters; what was noted beside it cannot be kept.
            await self._emit(EventType.STEP_FAILED, {"error": with_notes_lost(error, refused)}, now)

    async def _price(self) -> Price | None:
        used = self._usage
        if used is None or used.model is None or used.cost is not None:
            return None
        return await self._recording.price(used.model)

    def _noted(self, price: Price | None = None) -> dict[str, Any]:
        return given(
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
        await step._begin(given(**started), previous_error)
        clock = asyncio.timeout(context.timeout_seconds)
        try:
            async with clock:
                yield step
        except (Exception, asyncio.CancelledError) as raised:
            if clock.expired() and isinstance(raised, TimeoutError) and not raised.args:
                raised.args = (f"timed out after {context.timeout_seconds:g} s",)
            error = step_error(raised, context.step_id, context.attempt, classify)
            await undisturbed(step._fail(error))
            raise
        await undisturbed(step._succeed())

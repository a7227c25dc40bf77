"""A run: its start, the attempts of its steps, and how it ended."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from ledger.contract.artifact_ref import ArtifactRef
from ledger.contract.context import ExecutionContext, derive_event_id
from ledger.contract.errors import StepError
from ledger.contract.events import Event, EventType
from ledger.contract.names import RUN_LEVEL
from ledger.control.llm import ModelRef
from ledger.errors import InvalidEvent
from ledger.failures import Classifier, step_error
from ledger.prompts import PromptPack
from ledger.runs.recording import Recording, given, undisturbed, with_notes_lost
from ledger.runs.step import Step, record_step


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
        noted = given(outputs=self.outputs or None, summary=self.summary)
        if raised is None:
            await self._succeed(noted)
        elif isinstance(raised, asyncio.CancelledError):
            reason = str(raised) or "the task was cancelled"
            await self._emit(EventType.RUN_CANCELLED, given(reason=reason, by=self._recording.actor))
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
            await self._emit(EventType.RUN_FAILED, {"error": with_notes_lost(error, refused)})

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
    await run._start({"prompt_pack": pack.identity(), **given(**details)})
    try:
        yield run
    except (Exception, asyncio.CancelledError) as raised:
        await undisturbed(run._end(raised))
        raise
    await undisturbed(run._end(None))

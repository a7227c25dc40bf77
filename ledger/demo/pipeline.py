"""The pipeline: which activities a run goes through, and what happens when one fails."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ledger.contract import ArtifactRef, GraphState
from ledger.demo import activities
from ledger.demo.activities import Activity, Tools, is_refused
from ledger.prompts import MOCK_PACK
from ledger.runs import Run
from ledger.tenant import Tenant

NAME = "demo-article"
ACTOR = "daicho demo"
ATTEMPTS_MAX = 8
BACKOFF_MIN_SECONDS = 0.05
BACKOFF_MAX_SECONDS = 1.0
STEP_TIMEOUT_SECONDS = 30.0


def _always(state: GraphState) -> bool:
    return True


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline: what it reads, the prompt of the pack it renders, whether it is due."""

    step_id: str
    activity: Activity
    reads: tuple[str, ...] = ()
    prompt: str | None = None
    is_due: Callable[[GraphState], bool] = _always


STAGES = (
    Stage("read", activities.read),
    Stage("keywords", activities.keywords, ("read",)),
    Stage("outline", activities.outline, ("read", "keywords"), "outline"),
    Stage("draft", activities.draft, ("read", "keywords", "outline"), "draft"),
    Stage("validate", activities.check, ("draft",)),
    Stage("repair", activities.mend, ("draft", "keywords"), "repair", is_refused),
    Stage("render", activities.render, ("draft", "repair")),
)


async def make_article(tenant: Tenant, run_id: str, tools: Tools) -> GraphState:
    """One run, from the file to the HTML page. Raises what its failing step raised."""
    config = {"attempts_max": ATTEMPTS_MAX, "sent_to_model": False}
    labels = {"file": tools.name}
    async with tenant.run(
        run_id, pipeline=NAME, prompt_pack=MOCK_PACK, config=config, labels=labels, actor=ACTOR
    ) as run:
        state = _first_state(tenant.tenant_id, run_id, config, labels)
        for stage in STAGES:
            if stage.is_due(state):
                state = await _until_done(run, stage, state, tools)
        run.outputs = {"html": state["step_outputs"]["render"], "article": activities.article_ref(state)}
        return state


def backoff_seconds(failed_attempts: int) -> float:
    """Doubles from 50 ms up to 1 s."""
    return float(min(BACKOFF_MIN_SECONDS * 2 ** (failed_attempts - 1), BACKOFF_MAX_SECONDS))


async def _until_done(run: Run, stage: Stage, state: GraphState, tools: Tools) -> GraphState:
    """Tries until the step succeeds, its failure is not retryable, or eight attempts are used up."""
    state = GraphState(**{**state, "current_step": stage.step_id})
    for attempt in range(1, ATTEMPTS_MAX + 1):
        step = None
        try:
            async with run.step(
                stage.step_id,
                timeout_seconds=STEP_TIMEOUT_SECONDS,
                inputs=_inputs(stage, state),
                prompt=stage.prompt,
            ) as step:
                return await stage.activity(state, step, tools)
        except Exception:
            error = None if step is None else step.error
            if error is None or not error.is_retryable() or attempt == ATTEMPTS_MAX:
                raise
            state = GraphState(**{**state, "errors": [*state["errors"], error]})
        await asyncio.sleep(backoff_seconds(attempt))
    raise AssertionError("the last attempt returns or raises")


def _inputs(stage: Stage, state: GraphState) -> list[ArtifactRef]:
    """The references it is given, which step.started carries."""
    outputs = state["step_outputs"]
    return [outputs[name] for name in stage.reads if name in outputs]


def _first_state(tenant_id: str, run_id: str, config: dict[str, Any], labels: dict[str, Any]) -> GraphState:
    return GraphState(
        run_id=run_id,
        tenant_id=tenant_id,
        current_step=None,
        step_outputs={},
        validation_reports=[],
        errors=[],
        config=config,
        metadata=labels,
    )

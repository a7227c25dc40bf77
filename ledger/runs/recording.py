"""Recording: what a run and its steps write through, and how an end is written for certain."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ledger.artifacts import ArtifactStore
from ledger.contract.errors import StepError
from ledger.control.llm import Price
from ledger.emitter import EventEmitter
from ledger.errors import DaichoError

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


async def undisturbed(recording_of_the_end: Coroutine[Any, Any, None]) -> None:
    # The body has ended, and that is a fact: a cancellation that comes now may stop the waiting,
    # not the recording.
    task = asyncio.create_task(recording_of_the_end)
    _ends.add(task)
    task.add_done_callback(_ends.discard)
    await asyncio.shield(task)


_ends: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references to tasks


def with_notes_lost(error: StepError, refused: DaichoError) -> StepError:
    details = {**(error.details or {}), "notes_not_kept": refused.problem}
    return error.model_copy(update={"details": details})


def given(**fields: Any) -> dict[str, Any]:
    """The fields that were given: None says nothing and is left out."""
    return {name: value for name, value in fields.items() if value is not None}

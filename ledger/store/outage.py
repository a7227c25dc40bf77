"""Outages, as a subscriber sees them: not at all. Reads are tried again for as long as somebody wants
their answer; the log says when the store went and when it came back."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ledger.errors import DaichoError
from ledger.logs import get_logger

PAUSE_SECONDS_MIN = 0.05
PAUSE_SECONDS_MAX = 1.0

Answer = TypeVar("Answer")
log = get_logger(__name__)


async def outlast(call: Callable[[], Awaitable[Answer]], *, doing: str, tenant_id: str) -> Answer:
    """What `call` answers, however often it is out of reach first. Raises what is not retryable."""
    failures = 0
    pause_seconds = PAUSE_SECONDS_MIN
    while True:
        try:
            answer = await call()
        except DaichoError as error:
            if not error.retryable:
                raise
            if not failures:
                log.warning(
                    "subscription_interrupted", tenant_id=tenant_id, doing=doing, problem=error.problem
                )
            failures += 1
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause_seconds = min(pause_seconds * 2, PAUSE_SECONDS_MAX)
        else:
            if failures:
                log.warning("subscription_resumed", tenant_id=tenant_id, doing=doing, failures=failures)
            return answer

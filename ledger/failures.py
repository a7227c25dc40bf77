"""Failures: an exception as a StepError, so that a machine can tell whether it may be retried."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pydantic

from ledger.contract.errors import ErrorCategory, StepError, StepFailure
from ledger.errors import DaichoError

Classifier = Callable[[BaseException], ErrorCategory | str | None]
"""Says what category an exception is of; None leaves it to the defaults."""

MESSAGE_CHARS_MAX = 2_000
DETAILS_BYTES_MAX = 16 * 1024


def step_error(
    raised: BaseException, step_id: str, attempt: int, classify: Classifier | None = None
) -> StepError:
    """What `raised` tells. It can always be recorded: the text is cut to 2,000 characters and rid of
    what cannot be stored, details over 16 KiB or without a JSON form are named instead of kept."""
    return StepError(
        step_id=step_id,
        category=category_of(raised, classify),
        message=_storable(str(raised) or type(raised).__name__),
        details=_details(raised),
        occurred_at=datetime.now(UTC),
        attempt=attempt,
    )


def category_of(raised: BaseException, classify: Classifier | None = None) -> ErrorCategory:
    if classify is not None and (answer := classify(raised)) is not None:
        return ErrorCategory(answer)
    if isinstance(raised, StepFailure):
        return raised.category
    if isinstance(raised, pydantic.ValidationError):
        return ErrorCategory.VALIDATION_FAIL
    if isinstance(raised, DaichoError):
        # Our own errors say themselves whether retrying helps; the record says the same.
        return ErrorCategory.RETRYABLE if raised.retryable else ErrorCategory.NON_RETRYABLE
    if isinstance(raised, TimeoutError | ConnectionError):
        return ErrorCategory.RETRYABLE
    return ErrorCategory.NON_RETRYABLE


def _details(raised: BaseException) -> dict[str, Any]:
    kind = type(raised)
    details: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}"}
    if isinstance(raised, asyncio.CancelledError):
        details["cancelled"] = True
    if isinstance(raised, StepFailure) and raised.details:
        given = _checked(raised.details)
        details = {**details, **given}
    return details


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    try:
        # A round trip through JSON: NaN becomes null, and what has no JSON form is refused.
        data = orjson.dumps(given)
    except (TypeError, RecursionError) as error:
        return {"details_not_kept": f"no JSON form: {error}"[:200]}
    if len(data) > DETAILS_BYTES_MAX:
        return {"details_not_kept": f"{len(data)} bytes, at most {DETAILS_BYTES_MAX}"}
    if b"\\u0000" in data:
        return {"details_not_kept": "the text holds U+0000"}
    checked: dict[str, Any] = orjson.loads(data)
    return checked


def _storable(text: str) -> str:
    clean = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if len(clean) <= MESSAGE_CHARS_MAX:
        return clean
    return f"{clean[:MESSAGE_CHARS_MAX]}… ({len(clean) - MESSAGE_CHARS_MAX} characters cut)"

"""StepError: what a failure tells a machine. The category alone decides whether to retry."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ledger.contract.times import AwareTime


class ErrorCategory(StrEnum):
    RETRYABLE = "retryable"
    NON_RETRYABLE = "non_retryable"
    VALIDATION_FAIL = "validation_fail"
    # The same three under the names that stand on the wire (an enum makes them aliases).
    retryable = "retryable"
    non_retryable = "non_retryable"
    validation_fail = "validation_fail"


class StepError(BaseModel):
    """A failed attempt of a step. `details` holds small facts, never a body."""

    model_config = ConfigDict(frozen=True, extra="allow")

    step_id: str
    category: ErrorCategory
    message: str
    details: dict[str, Any] | None = None
    occurred_at: AwareTime
    attempt: int = Field(default=1, ge=0)

    def is_retryable(self) -> bool:
        """True for `retryable` alone: a validation failure wants a repair, not a repetition."""
        return self.category is ErrorCategory.RETRYABLE


class StepFailure(Exception):
    """Raised by a step's body to say how it failed, in the ledger's own words."""

    def __init__(
        self,
        message: str,
        *,
        category: ErrorCategory | str = ErrorCategory.NON_RETRYABLE,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.category = ErrorCategory(category)
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_failure, (self.message, self.category, self.details))


def _rebuild_failure(message: str, category: ErrorCategory, details: dict[str, Any] | None) -> StepFailure:
    return StepFailure(message, category=category, details=details)

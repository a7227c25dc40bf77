"""ExecutionContext: who is executing what, for the n-th time. It travels with the work."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.contract.names import is_reserved, name_problem, tenant_id_problem


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """One attempt of one step.

    `attempt` counts from 1. `started_at` is aware and is part of the attempt's identity: an
    engine may reset its counter, and then the same number means another attempt.
    `timeout_seconds` is enforced by `tenant.step`; None sets no limit.
    """

    run_id: str
    step_id: str
    attempt: int
    tenant_id: str
    started_at: datetime
    timeout_seconds: float | None = None

    def __post_init__(self) -> None:
        if problem := tenant_id_problem(self.tenant_id):
            raise ValueError(f"tenant_id {self.tenant_id!r}: {problem}")
        for field in ("run_id", "step_id"):
            value = getattr(self, field)
            if problem := name_problem(value):
                raise ValueError(f"{field} {value!r}: {problem}")
            if is_reserved(value):
                raise ValueError(f"{field} {value!r}: names that begin with '$' are reserved")
        if self.attempt < 1:
            raise ValueError(f"attempt counts from 1, found {self.attempt}")
        if self.started_at.tzinfo is None:
            raise ValueError("started_at needs a time zone, found a naive datetime")
        if self.timeout_seconds is not None and not self.timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is greater than 0 or None, found {self.timeout_seconds}")

    def to_dict(self) -> dict[str, Any]:
        """`run_id`, `step_id`, `attempt`, `tenant_id` and `started_at` (ISO 8601, UTC)."""
        return {
            "run_id": self.run_id,
            "step_id": self.step_id,
            "attempt": self.attempt,
            "tenant_id": self.tenant_id,
            "started_at": self.started_at.astimezone(UTC).isoformat(),
        }

"""ExecutionContext: who is executing what, for the n-th time. It travels with the work."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

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


# uuid5(NAMESPACE_URL, "daicho:event-id"): changing it would make every retry a new event.
_EVENT_ID_NAMESPACE = UUID("1fb6b17e-d4fb-5514-91b3-f6a3d254e3e9")


def derive_event_id(context: ExecutionContext, kind: str, ordinal: int = 0) -> UUID:
    """The id of the n-th event of a kind that this attempt writes: the same attempt, asked again,
    gives the same ids (uuid5, RFC 9562 section 5.5), so that the store records each once."""
    parts = (
        context.tenant_id,
        context.run_id,
        context.step_id,
        str(context.attempt),
        context.started_at.astimezone(UTC).isoformat(),
        kind,
        str(ordinal),
    )
    # Names hold no control characters, so the separator cannot stand inside one of them.
    return uuid5(_EVENT_ID_NAMESPACE, "\x1f".join(parts))

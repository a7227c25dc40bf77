"""What was recorded of runs, and the context of a step."""

from datetime import UTC, datetime
from typing import Any

from ledger import (
    ExecutionContext,
    RecordedEvent,
    StepError,
    Tenant,
)

MOCK = "mock_pack"


async def story(tenant: Tenant) -> list[str]:
    return [str(event.event_type) for event in await tenant.store.read()]


async def last(tenant: Tenant, event_type: str) -> RecordedEvent:
    return [event for event in await tenant.store.read() if event.event_type == event_type][-1]


async def error_of(tenant: Tenant, event_type: str = "step.failed") -> StepError:
    payload = (await last(tenant, event_type)).payload
    assert payload is not None
    return StepError.model_validate(payload["error"])


def context(tenant: Tenant, **changed: Any) -> ExecutionContext:
    fields: dict[str, Any] = {"run_id": "run", "step_id": "draft", "attempt": 1}
    return ExecutionContext(
        **{**fields, "tenant_id": tenant.tenant_id, "started_at": datetime.now(UTC), **changed}
    )

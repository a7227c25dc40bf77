"""Operations: what is under way with a tenant and how far it has come, in the control database.

An operation has named steps. Each is recorded when it begins and may be repeated, so that after a kill the
whole is finished by asking for it again. While it runs, its process holds the tenant's lock.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from ledger.control.audit import record_act, this_actor
from ledger.control.catalogue import Catalogue, TenantStatus
from ledger.errors import TenantBusy
from ledger.store.server import Connection
from ledger.store.statements import load_statements

_SQL = load_statements("ledger.control", "operations.sql")


@dataclass
class Operation:
    """`state` is what the steps need to know of each other; it is stored with every step."""

    catalogue: Catalogue
    tenant_id: str
    kind: str
    step: str
    state: dict[str, Any]
    by: str

    async def advance(self, step: str, *, status: TenantStatus | None = None) -> None:
        """From now on, also after a kill, the operation is at `step`."""
        async with self.advancing(step) as connection:
            if status is not None:
                await connection.execute(_SQL["set_status"], self.tenant_id, status)

    @asynccontextmanager
    async def advancing(self, step: str) -> AsyncIterator[Connection]:
        """The transaction in which it comes to be at `step`, for what changes with that."""
        async with self.catalogue.changing() as connection:
            yield connection
            await connection.execute(_SQL["advance_operation"], self.tenant_id, step, _json(self.state))
        self.step = step

    async def end(self, status: TenantStatus) -> None:
        """The operation is no more, and the tenant has this status; what it did is recorded already."""
        async with self.catalogue.changing() as connection:
            await connection.execute(_SQL["set_status"], self.tenant_id, status)
            await connection.execute(_SQL["finish_operation"], self.tenant_id)

    async def take_back(
        self, status: TenantStatus, action: str, *, by: str | None = None, reason: str | None = None
    ) -> None:
        """The operation is no more and the tenant is as it was; that it was begun and not done is
        recorded."""
        async with self.catalogue.changing() as connection:
            await connection.execute(_SQL["set_status"], self.tenant_id, status)
            subject, details = f"tenant:{self.tenant_id}", {"step": self.step}
            await record_act(connection, by or self.by, action, subject, reason=reason, details=details)
            await connection.execute(_SQL["finish_operation"], self.tenant_id)

    @asynccontextmanager
    async def finishing(
        self, action: str, *, reason: str | None = None, details: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Connection]:
        """The transaction of the last change: the act is recorded and the operation is no more."""
        async with self.catalogue.changing() as connection:
            yield connection
            await self.record(connection, action, reason=reason, details=details)
            await connection.execute(_SQL["finish_operation"], self.tenant_id)

    async def record(
        self, connection: Connection, action: str, *, reason: str | None, details: Mapping[str, Any] | None
    ) -> None:
        subject = f"tenant:{self.tenant_id}"
        await record_act(connection, self.by, action, subject, reason=reason, details=details)


async def require_idle(catalogue: Catalogue, tenant_id: str) -> None:
    """Raises TenantBusy where an operation is under way with the tenant, or was interrupted."""
    found = await _under_way(catalogue, tenant_id)
    if found is not None:
        raise _busy(tenant_id, found["kind"], found["step"])


async def state_of(catalogue: Catalogue, tenant_id: str, kind: str) -> dict[str, Any] | None:
    """The state of the operation of this kind that is under way, if one is."""
    found = await _under_way(catalogue, tenant_id)
    if found is None or found["kind"] != kind:
        return None
    state: dict[str, Any] = orjson.loads(found["state"])
    return state


@asynccontextmanager
async def operating(
    catalogue: Catalogue,
    tenant_id: str,
    kind: str,
    first_step: str,
    *,
    state: Mapping[str, Any] | None = None,
    status: TenantStatus | None = None,
    instead_of: str | None = None,
    by: str | None = None,
) -> AsyncIterator[Operation]:
    """The operation that is under way, where it is of this kind, or a new one, begun with `status`, also in
    place of one of the kind `instead_of`. Raises TenantBusy where another is under way, StoreUnavailable
    where another process is at it."""
    async with catalogue.locked(tenant_id):
        found = await _under_way(catalogue, tenant_id)
        if found is None or found["kind"] == instead_of:
            operation = Operation(
                catalogue, tenant_id, kind, first_step, dict(state or {}), by or this_actor()
            )
            async with catalogue.changing() as connection:
                await connection.execute(_SQL["finish_operation"], tenant_id)
                await connection.execute(
                    _SQL["begin_operation"], tenant_id, kind, first_step, _json(operation.state), operation.by
                )
                if status is not None:
                    await connection.execute(_SQL["set_status"], tenant_id, status)
        elif found["kind"] == kind:
            operation = Operation(
                catalogue, tenant_id, kind, found["step"], orjson.loads(found["state"]), found["started_by"]
            )
        else:
            raise _busy(tenant_id, found["kind"], found["step"])
        yield operation


async def _under_way(catalogue: Catalogue, tenant_id: str) -> Any:
    async with catalogue.changing() as connection:
        return await connection.fetchrow(_SQL["operation"], tenant_id)


def _busy(tenant_id: str, kind: str, step: str) -> TenantBusy:
    command = f"`daicho tenant {kind} {tenant_id}`"
    return TenantBusy(
        f"Tenant {tenant_id!r} is being worked on: {kind}, at the step {step}",
        fix=f"Finish that first: {command}, asked for again, goes on where it stopped",
    )


def _json(state: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(state)).decode()

"""Tenants with something to lose: runs, a failure, an erased payload, a published prompt pack, bodies."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ledger import Event, Ledger, Tenant
from ledger.control.audit import acts_of
from ledger.store.tenant_database import Role, TenantDatabase

SECRET = "secret-7f3a"


def new_id() -> str:
    return f"t-{uuid4().hex[:12]}"


def fact(tenant: Tenant, run_id: str = "noise", **payload: Any) -> Event:
    return Event(
        event_type="step.started", run_id=run_id, step_id="s", tenant_id=tenant.tenant_id, payload=payload
    )


async def fill(tenant: Tenant) -> None:
    async with tenant.run("run-1", prompt_pack="mock_pack", labels={"topic": "moving"}) as run:
        async with run.step("outline") as step:
            await step.put({"sections": ["why", "how"]}, "outline.json")
        with pytest.raises(ConnectionError):
            async with run.step("draft"):
                raise ConnectionError("reset by peer")
        async with run.step("draft") as step:
            await step.put("# Moving", "draft.md")
    recorded = await tenant.emitter.emit(fact(tenant, worker=SECRET))
    await tenant.erase_payload(recorded.position, by="ann", reason="asked to")
    await tenant.prompts.publish("pack", {"draft": "Write about {topic}."}, by="ann")
    await tenant.wait_projected(await tenant.store.head())


async def log_rows(database: TenantDatabase) -> list[tuple[Any, ...]]:
    """Every column of every event."""
    owner = await database.connect(Role.OWNER)
    try:
        rows = await owner.fetch("SELECT * FROM ledger.events ORDER BY position")
        return [tuple(row) for row in rows]
    finally:
        await owner.close()


async def acts(ledger: Ledger, tenant_id: str) -> list[str]:
    """What was done to the tenant, in order."""
    async with ledger.tenants.catalogue.changing() as connection:
        return [act.action for act in await acts_of(connection, f"tenant:{tenant_id}")][::-1]


async def is_there(ledger: Ledger, database: TenantDatabase) -> tuple[bool, int]:
    """Whether the database is, and how many of its roles are."""
    connection = await database.server.connect()
    try:
        named_so = "SELECT count(*) FROM pg_database WHERE datname = $1"
        there = await connection.fetchval(named_so, database.name)
        named = [database.role(role) for role in Role]
        roles = await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = ANY ($1)", named)
        return bool(there), roles
    finally:
        await connection.close()


class Killed(BaseException):
    """As a kill would end it: nothing of ours catches it."""


def killed_at(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *, after: bool = False
) -> Callable[[], None]:
    """From now on the function `name` of `module` is as far as anybody gets; the answer takes that back."""
    real = getattr(module, name)

    async def killed(*arguments: Any, **options: Any) -> Any:
        if after:
            made: Awaitable[Any] = real(*arguments, **options)
            await made
        raise Killed(name)

    monkeypatch.setattr(module, name, killed)
    return lambda: monkeypatch.setattr(module, name, real)


@pytest.fixture
async def filled(tenant: Tenant) -> Tenant:
    await fill(tenant)
    return tenant


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "acme.tar"

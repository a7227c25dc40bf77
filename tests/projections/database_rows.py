"""The projection tables as a test looks at them and, where it must, tampers with them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from builder import PACK, Records, error, ref

from ledger import Event, EventType, RecordedEvent, Tenant
from ledger.store.server import Connection
from ledger.store.tenant_database import Role
from projections.projector import Projector
from projections.rows import ROW_TYPES, columns

__all__ = ["busy_run", "catch_up", "connected", "live_records", "started", "terminate", "update"]


@asynccontextmanager
async def connected(tenant: Tenant, role: Role = Role.PROJECTOR) -> AsyncIterator[Connection]:
    connection = await tenant.database.connect(role)
    try:
        yield connection
    finally:
        await connection.close()


async def live_records(tenant: Tenant) -> Records:
    """Every row of every table, all of one moment."""
    records: Records = {}
    async with (
        connected(tenant, Role.READER) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        for kind in ROW_TYPES:
            names = columns(kind)
            rows = await connection.fetch(f"SELECT {', '.join(names)} FROM projection.{kind.TABLE}")
            records[kind.TABLE] = {tuple(row[name] for name in kind.KEY): tuple(row) for row in rows}
    return records


async def catch_up(tenant: Tenant) -> None:
    """Projects what is there, once."""
    projector = Projector(tenant.store)
    await projector.catch_up()
    await projector.close()


async def update(tenant: Tenant, statement: str, *arguments: object) -> str:
    """Tampers with the tables behind everybody's back."""
    async with connected(tenant) as connection:
        done: str = await connection.execute(statement, *arguments)
        return done


async def terminate(tenant: Tenant, backend: int) -> None:
    """Ends one backend of the server, as an operator's pg_terminate_backend would."""
    connection = await tenant.database.server.connect()
    try:
        await connection.execute("SELECT pg_terminate_backend($1)", backend)
    finally:
        await connection.close()


async def terminate_role(tenant: Tenant, role: Role) -> int:
    """Ends all backends of one of the tenant's logins; returns how many."""
    connection = await tenant.database.server.connect()
    try:
        ended: int = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1",
            tenant.database.role(role),
        )
        return ended
    finally:
        await connection.close()


def started(tenant: Tenant, run_id: str) -> Event:
    return Event(
        event_type=EventType.RUN_STARTED,
        run_id=run_id,
        tenant_id=tenant.tenant_id,
        payload={"prompt_pack": PACK},
    )


async def busy_run(tenant: Tenant, run_id: str) -> list[RecordedEvent]:
    """A run that leaves rows in every table: a retry, a repair, an anomaly, an artifact."""

    def of_step(event_type: EventType, attempt: int, **payload: object) -> Event:
        return Event(
            event_type=event_type,
            run_id=run_id,
            step_id="draft",
            attempt=attempt,
            tenant_id=tenant.tenant_id,
            payload=payload,
        )

    before, after = ref("draft.json", "{", run=run_id), ref("draft.json", "{}", run=run_id)
    return await tenant.emitter.emit_many(
        [
            started(tenant, run_id),
            of_step(EventType.STEP_STARTED, 1, timeout_seconds=30, inputs=[ref("in", run=run_id)]),
            of_step(EventType.STEP_FAILED, 1, error=error(), will_retry=True, retry_delay_ms=250),
            of_step(EventType.STEP_STARTED, 3),
            of_step(EventType.ARTIFACT_STORED, 3, name="draft.json", ref=before),
            of_step(EventType.REPAIR_APPLIED, 3, kind="json_fix", before=before, after=after),
            of_step(EventType.STEP_SUCCEEDED, 3, outputs={"output": after}),
            Event(event_type=EventType.RUN_SUCCEEDED, run_id=run_id, tenant_id=tenant.tenant_id),
        ]
    )

"""SQLAlchemy sessions read the projection tables, in a role that can do nothing else."""

import pytest
from database_rows import busy_run
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from ledger import Ledger, Tenant
from projections.tables import Attempt, Checkpoint, Run, Step


@pytest.fixture
async def projected(tenant: Tenant) -> Tenant:
    recorded = await busy_run(tenant, "run-1")
    await tenant.wait_projected(recorded[-1].position)
    return tenant


async def test_a_session_reads_runs_steps_and_attempts(ledger: Ledger, projected: Tenant) -> None:
    async with await ledger.tenants.get_connection(projected.tenant_id) as session:
        run = await session.get_one(Run, "run-1")
        assert (run.status, run.prompt_pack_id, run.failures, run.repairs) == ("succeeded", "mock_pack", 1, 1)
        assert run.started_at.tzinfo is not None
        assert run.duration_ms == (run.ended_at - run.started_at).total_seconds() * 1000 // 1

        step = await session.get_one(Step, ("run-1", "draft"))
        assert (step.status, step.attempts) == ("succeeded", 2)
        assert step.outputs["output"]["path"].endswith("/draft/draft.json")

        attempts = (
            await session.scalars(select(Attempt).where(Attempt.run_id == "run-1").order_by(Attempt.ordinal))
        ).all()
        assert [(row.attempt, row.status, row.error_message) for row in attempts] == [
            (1, "failed", "no answer"),
            (3, "succeeded", None),
        ]
        assert attempts[0].error["category"] == "retryable"
        assert attempts[0].retryable is True
        assert await session.scalar(select(Checkpoint.position)) == 8


@pytest.mark.parametrize(
    "statement",
    [
        insert(Run).values(run_id="made-up", status="succeeded"),
        update(Run).values(status="failed"),
        delete(Attempt),
        update(Checkpoint).values(position=0),
        text("TRUNCATE projection.runs"),
        text("DROP TABLE projection.runs"),
        text("DELETE FROM ledger.events"),
        text("UPDATE ledger.head SET position = 9"),
        text("CREATE TABLE projection.mine (a int)"),
        text("CREATE TABLE public.mine (a int)"),
        text(
            "SELECT ledger.append_events_v1(NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL)"
        ),
    ],
    ids=lambda statement: str(statement).split("(")[0].strip()[:40],
)
async def test_a_session_cannot_write(ledger: Ledger, projected: Tenant, statement: object) -> None:
    async with await ledger.tenants.get_connection(projected.tenant_id) as session:
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            await session.execute(statement)  # type: ignore[call-overload]

    async with await ledger.tenants.get_connection(projected.tenant_id) as session:
        assert await session.scalar(select(Run.status)) == "succeeded"


async def test_sessions_of_two_tenants_read_two_databases(ledger: Ledger, projected: Tenant) -> None:
    other = f"{projected.tenant_id}-b"
    await ledger.tenants.create_tenant_db(other, "Another tenant")
    async with await ledger.tenants.get_connection(other) as session:
        assert (await session.scalars(select(Run))).all() == []

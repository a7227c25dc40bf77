"""A projection's version: tables that another fold filled are refused, and rebuilt when somebody says so."""

import hashlib
from typing import Any

import orjson
import pytest
from alembic import command
from builder import History, Records, error, ref, report, seconds
from database_rows import busy_run, live_records, update
from sqlalchemy.engine import Connection

from ledger import Ledger, Settings, Tenant
from ledger.control.migrations import _config, owner_engine, run_sync
from ledger.errors import ProjectionOutdated
from projections import Projector, rebuild, verify
from projections.core import CORE, Core

GOLDEN = {2: "34599aff"}
"""By version of the core projection: what the history below comes to."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


class NextCore(Core):
    """The core projection as a later daicho may bring it."""

    version = CORE.version + 1


async def catch_up(tenant: Tenant, projection: Core = CORE) -> int:
    projector = Projector(tenant.store, projection)
    try:
        return await projector.catch_up()
    finally:
        await projector.close()


def eventful() -> History:
    """Something of everything that the fold knows."""
    source, broken, fixed = ref("source.md"), ref("draft.json", "{"), ref("draft.json", "{}")
    usage = {"model": "m", "input_tokens": 7, "output_tokens": 3, "cost": "0.25", "currency": "EUR"}
    engine = {"name": "temporal", "scheduled_at": seconds(1.5).isoformat()}
    return (
        History()
        .run_started(inputs=[source], config={"a": 1}, labels={"b": "c"}, actor="cron")
        .step_started(inputs=[source], timeout_seconds=30, engine=engine, worker="w", model="m")
        .stored(broken)
        .step_failed(will_retry=True, retry_delay_ms=9, usage=usage, validation_reports=[report("s", False)])
        .step_retrying(previous_attempt=1)
        .step_started(attempt=2)
        .step_lost(attempt=2, detected_by="sweep", last_seen=seconds(6).isoformat())
        .step_started(attempt=3)
        .repaired(broken, fixed, note="closed a brace")
        .step_succeeded(attempt=3, outputs={"output": fixed}, usage=usage, validation_reports=[report("s")])
        .step_started("render", inputs=[fixed])
        .step_failed("render", error=error("render", category="non_retryable"))
        .run_failed(error=error("render", category="non_retryable"))
        .run_cancelled(reason="twice", by="somebody")
    )


def digest_of(records: Records) -> str:
    rows: Any = [[table, sorted(rows.values())] for table, rows in sorted(records.items()) if rows]
    return hashlib.sha256(orjson.dumps(rows, option=orjson.OPT_UTC_Z)).hexdigest()[:8]


def test_whoever_changes_what_events_come_to_raises_the_version() -> None:
    """Where this fails, tables out there no longer equal a fresh fold: raise `Core.version`, add the new
    digest here, and leave a migration that empties the tables or tell users to rebuild."""
    assert GOLDEN[CORE.version] == digest_of(eventful().folded().tables.records())


async def test_tables_of_another_version_are_refused_until_they_are_rebuilt(tenant: Tenant) -> None:
    await busy_run(tenant, "run-1")
    await catch_up(tenant)

    with pytest.raises(ProjectionOutdated, match=r"daicho rebuild --projection core"):
        await catch_up(tenant, NextCore())
    before = await live_records(tenant)
    await rebuild(tenant, projection=NextCore())

    assert await live_records(tenant) == before
    assert await catch_up(tenant, NextCore()) == 9


async def test_an_older_daicho_does_not_touch_what_a_newer_one_filled(tenant: Tenant) -> None:
    await busy_run(tenant, "run-1")
    older = Projector(tenant.store, CORE)
    assert await older.catch_up() == 8
    await rebuild(tenant, projection=NextCore())
    await update(tenant, "UPDATE projection.checkpoints SET position = 8")  # where the older one is, too

    with pytest.raises(ProjectionOutdated, match="Install the package that filled them"):
        await older.catch_up()
    await older.close()


async def test_tables_that_were_never_filled_are_filled_by_any_version(tenant: Tenant) -> None:
    await busy_run(tenant, "run-1")

    assert await catch_up(tenant, NextCore()) == 8
    with pytest.raises(ProjectionOutdated):
        await catch_up(tenant)


def _downgrade_to_0004(connection: Connection) -> None:
    config = _config("tenant")
    config.attributes["connection"] = connection
    command.downgrade(config, "0004")


async def test_the_migration_of_a_tenant_with_data_leaves_tables_that_are_right(
    ledger: Ledger, tenant: Tenant
) -> None:
    await busy_run(tenant, "run-1")
    await catch_up(tenant)
    before = await live_records(tenant)

    await run_sync(owner_engine(tenant.database), _downgrade_to_0004)
    await ledger.tenants.migrate(tenant.tenant_id)

    assert (await verify(tenant)).ok  # they are empty, as of position 0
    assert await catch_up(tenant) == 8
    assert await live_records(tenant) == before
    assert (await verify(tenant)).ok

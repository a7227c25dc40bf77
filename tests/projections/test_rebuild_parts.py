"""Parts of a rebuild: one table, one run; and what a table keeps when another takes its place."""

import pytest
from database_rows import busy_run, catch_up, connected, live_records, update

from ledger import EventType, Ledger, Settings, Tenant
from ledger.errors import ProjectionNotFound, RunNotFound, StoreError, TenantSuspended
from ledger.store.tenant_database import Role
from projections import Projector, rebuild, verify


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """No projector in the background: what a test does to the tables stays as it is."""
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
async def projected(tenant: Tenant) -> Tenant:
    for number in range(4):
        await busy_run(tenant, f"run-{number}")
    await catch_up(tenant)
    return tenant


async def test_one_table_is_rebuilt_and_the_others_are_left(projected: Tenant) -> None:
    before = await live_records(projected)
    await update(projected, "DELETE FROM projection.steps")
    await update(projected, "UPDATE projection.runs SET status = 'failed'")

    report = await rebuild(projected, table="steps")

    after = await live_records(projected)
    assert after["steps"] == before["steps"]
    assert {row[1] for row in after["runs"].values()} == {"failed"}
    assert report.rows == {"steps": len(before["steps"])}
    [recorded] = await projected.store.read(after=report.position)
    assert recorded.payload is not None
    assert recorded.payload["digests"] == report.digests


async def test_one_table_comes_to_where_the_others_are(projected: Tenant) -> None:
    await busy_run(projected, "run-later")

    report = await rebuild(projected, table="attempts")

    assert report.position == 32
    assert (await verify(projected)).ok
    await catch_up(projected)
    assert (await verify(projected)).ok


@pytest.mark.parametrize("position", ["position + 100", "-1"])
async def test_one_table_cannot_be_rebuilt_at_a_checkpoint_that_is_wrong(
    projected: Tenant, position: str
) -> None:
    before = await live_records(projected)
    if position == "-1":
        await update(projected, "DELETE FROM projection.checkpoints")
    else:
        await update(projected, f"UPDATE projection.checkpoints SET position = {position}")

    for part in ({"table": "steps"}, {"run_id": "run-1"}):
        with pytest.raises(StoreError, match="missing or ahead"):
            await rebuild(projected, **part)

    assert await live_records(projected) == before


async def test_a_table_that_is_not_there_is_refused(projected: Tenant) -> None:
    for command in (rebuild, verify):
        with pytest.raises(ProjectionNotFound, match="runs, steps"):
            await command(projected, table="stepps")


async def test_one_run_is_repaired_and_the_others_are_left(projected: Tenant) -> None:
    before = await live_records(projected)
    for table in ("runs", "steps", "artifacts"):
        await update(projected, f"UPDATE projection.{table} SET first_position = 999")
    await update(
        projected,
        "INSERT INTO projection.anomalies VALUES ('run-2', 999, 'made_up', 'm', NULL, NULL, now())",
    )

    report = await rebuild(projected, run_id="run-2")

    after = await live_records(projected)
    for table, rows in before.items():
        assert {key: row for key, row in after[table].items() if key[0] == "run-2"} == {
            key: row for key, row in rows.items() if key[0] == "run-2"
        }, table
    assert (report.events, report.rows["runs"], report.run_id) == (8, 1, "run-2")
    damaged = await verify(projected)
    assert {difference.key[0] for difference in damaged.differences} == {"run-0", "run-1", "run-3"}
    compared = await verify(projected, run_id="run-2")
    assert compared.ok
    assert {name: table.live_digest for name, table in compared.tables.items()} == report.digests
    [recorded] = await projected.store.read(after=32)
    assert recorded.event_type is EventType.PROJECTION_REBUILT
    assert recorded.payload is not None
    assert recorded.payload["run_id"] == "run-2"


async def test_a_run_that_nobody_recorded_is_not_repaired(projected: Tenant) -> None:
    with pytest.raises(RunNotFound):
        await rebuild(projected, run_id="run-9")


async def test_a_projector_forgets_what_it_remembers_of_rows_that_were_repaired(projected: Tenant) -> None:
    await update(projected, "UPDATE projection.runs SET pipeline = 'nonsense'")
    projector = Projector(projected.store)
    await busy_run(projected, "run-1")
    await projector.catch_up()  # and remembers the run with its nonsense
    await rebuild(projected, run_id="run-1")
    await busy_run(projected, "run-1")
    await projector.catch_up()
    await projector.close()

    assert (await verify(projected, run_id="run-1")).ok
    assert not (await verify(projected)).ok


async def test_grants_comments_indexes_and_parameters_are_kept(projected: Tenant) -> None:
    reader = projected.database.role(Role.READER)
    for statement in (
        "COMMENT ON TABLE projection.runs IS 'what became of it; isn''t it?'",
        "COMMENT ON COLUMN projection.runs.pipeline IS 'which one'",
        "COMMENT ON INDEX projection.runs_pkey IS 'the key'",
        "CREATE INDEX \"Of my own\" ON projection.runs (lower(pipeline)) WHERE status = 'failed'",
        "ALTER TABLE projection.runs SET (fillfactor = 70)",
        "ALTER TABLE projection.artifacts SET (autovacuum_enabled = off)",
        "ALTER TABLE projection.steps SET (autovacuum_enabled = on)",
        "GRANT SELECT (run_id), UPDATE (status) ON projection.runs TO PUBLIC",
        f'REVOKE SELECT ON projection.anomalies FROM "{reader}"',
    ):
        await update(projected, statement)
    before = await _described(projected)

    await rebuild(projected)

    assert await _described(projected) == before
    again = await rebuild(projected)
    assert await _described(projected) == before
    assert again.rows["runs"] == 4


async def _described(tenant: Tenant) -> list[tuple[object, ...]]:
    async with connected(tenant) as connection:
        rows = await connection.fetch(
            """
            SELECT c.relkind::text, c.relname::text, c.reloptions::text, obj_description(c.oid, 'pg_class'),
                   ARRAY(SELECT acl::text FROM unnest(c.relacl) AS acl ORDER BY 1),
                   CASE c.relkind WHEN 'i' THEN pg_get_indexdef(c.oid) END,
                   (SELECT array_agg(format('%s %s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod),
                                            a.attnotnull, a.attacl, col_description(c.oid, a.attnum))
                                     ORDER BY a.attnum)
                      FROM pg_attribute AS a
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
                   (SELECT array_agg(format('%s %s', k.conname, pg_get_constraintdef(k.oid))
                                     ORDER BY k.conname)
                      FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype <> 'n')
              FROM pg_class AS c
             WHERE c.relnamespace = 'projection'::regnamespace AND c.relkind IN ('r', 'i')
             ORDER BY 1, 2
            """
        )
        return [tuple(row) for row in rows]


async def test_a_suspended_tenant_is_compared_and_not_rebuilt_for_nothing_could_record_it(
    ledger: Ledger, projected: Tenant
) -> None:
    before = await live_records(projected)
    await update(projected, "UPDATE projection.runs SET status = 'failed'")
    damaged = await live_records(projected)
    await ledger.tenants.suspend(projected.tenant_id)
    try:
        for part in ({}, {"table": "runs"}, {"run_id": "run-1"}):
            with pytest.raises(TenantSuspended):
                await rebuild(projected, **part)
        assert await live_records(projected) == damaged
        assert (await verify(projected)).difference_count == 4
    finally:
        await ledger.tenants.resume(projected.tenant_id)
    await rebuild(projected)
    assert await live_records(projected) == before


async def test_a_view_on_the_tables_is_named_and_nothing_is_changed(projected: Tenant) -> None:
    await update(projected, "CREATE VIEW projection.failed AS SELECT * FROM projection.runs")
    before = await live_records(projected)

    with pytest.raises(StoreError, match="failed"):
        await rebuild(projected)

    assert await live_records(projected) == before
    await rebuild(projected, table="steps")

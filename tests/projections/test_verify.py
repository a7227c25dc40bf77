"""Verify: equal tables are found equal, and every difference is found and named."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from builder import seconds
from database_rows import busy_run, catch_up, connected, live_records, started, update

from ledger import Ledger, Settings, Tenant
from ledger.errors import RunNotFound
from projections import Projector, VerifyReport, verify
from projections.rows import ROW_TYPES, PromptRow
from projections.verifying.report import DIFFERENCES_MAX


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """No projector in the background: what a test does to the tables stays as it is."""
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
async def projected(tenant: Tenant) -> Tenant:
    for number in range(3):
        await busy_run(tenant, f"run-{number}")
    await catch_up(tenant)
    return tenant


def _named(report: VerifyReport) -> list[tuple[str, tuple[Any, ...], str, tuple[str, ...]]]:
    return [(found.table, found.key, found.kind, found.columns) for found in report.differences]


async def test_an_empty_tenant_is_equal(tenant: Tenant) -> None:
    report = await verify(tenant)

    assert report.ok
    assert (report.position, report.events) == (0, 0)


async def test_projected_tables_are_equal_row_by_row_and_by_digest(projected: Tenant) -> None:
    seen: list[tuple[str, int, int]] = []
    report = await verify(projected, progress=lambda *how_far: seen.append(how_far))

    assert report.ok
    assert report.differences == []
    assert (report.position, report.events) == (24, 24)
    assert seen[-1] == ("comparing", 24, 24)
    records = await live_records(projected)
    assert {name: table.rows for name, table in report.tables.items()} == {
        name: len(rows) for name, rows in records.items()
    }
    empty = [name for name, rows in records.items() if not rows]
    assert empty == ["prompts"], "a table without rows proves nothing; tests/prompts has those of this one"
    assert report.to_dict()["ok"] is True


async def test_events_that_are_not_projected_yet_are_no_difference(projected: Tenant) -> None:
    await busy_run(projected, "run-later")

    report = await verify(projected)

    assert report.ok
    assert report.position == 24


CORRUPTIONS = [
    ("runs", "status = 'failed'", ("run-1",), ("status",)),
    ("runs", "config = '{}', anomalies = 7", ("run-1",), ("anomalies", "config")),
    ("steps", "outputs = NULL", ("run-1", "draft"), ("outputs",)),
    ("attempts", "error_message = error_message || '.'", ("run-1", "draft", 1), ("error_message",)),
    ("attempts", "timeout_seconds = 30.5", ("run-1", "draft", 1), ("timeout_seconds",)),
    ("artifacts", "size_bytes = size_bytes + 1", None, ("size_bytes",)),
    ("audit_logs", "occurred_at = occurred_at + interval '1 microsecond'", None, ("occurred_at",)),
    ("anomalies", "message = ''", ("run-1", 12, "attempt_skipped"), ("message",)),
]


@pytest.mark.parametrize(("table", "change", "key", "columns"), CORRUPTIONS)
async def test_a_corrupted_value_is_found_and_named(
    projected: Tenant, table: str, change: str, key: tuple[Any, ...] | None, columns: tuple[str, ...]
) -> None:
    row = (
        f"SELECT ctid FROM projection.{table} WHERE run_id = 'run-1' "
        f"{'AND ordinal = 1' if table == 'attempts' else ''} LIMIT 1"
    )
    assert (
        await update(projected, f"UPDATE projection.{table} SET {change} WHERE ctid = ({row})") == "UPDATE 1"
    )

    report = await verify(projected)

    assert not report.ok
    assert report.difference_count == 1
    [(found_table, found_key, kind, found_columns)] = _named(report)
    assert (found_table, kind, sorted(found_columns)) == (table, "differs", sorted(columns))
    assert found_key[0] == "run-1"
    assert key is None or found_key == key
    assert [name for name, found in report.tables.items() if not found.equal] == [table]


@pytest.mark.parametrize("table", [kind.TABLE for kind in ROW_TYPES if kind is not PromptRow])
async def test_a_missing_row_is_found_and_named(projected: Tenant, table: str) -> None:
    records = (await live_records(projected))[table]
    await update(projected, f"DELETE FROM projection.{table} WHERE run_id = 'run-2'")

    report = await verify(projected)

    assert not report.ok
    missing = sorted(key for key in records if key[0] == "run-2")
    assert sorted(_named(report)) == [(table, key, "missing", ()) for key in missing]
    assert str(report.differences[0]).endswith(": missing")


async def test_a_surplus_row_of_a_run_is_found_and_named(projected: Tenant) -> None:
    await update(
        projected,
        "INSERT INTO projection.anomalies VALUES ('run-1', 999, 'made_up', 'm', NULL, NULL, $1)",
        seconds(0),
    )

    report = await verify(projected)

    assert not report.ok
    assert _named(report) == [("anomalies", ("run-1", 999, "made_up"), "surplus", ())]


@pytest.mark.parametrize("run_id", ["a-first", "run-1a", "zz-last", "$tenant", "ü"])
@pytest.mark.parametrize("table", ["anomalies", "audit_logs"])
async def test_a_surplus_row_of_a_run_without_events_is_found(
    projected: Tenant, run_id: str, table: str
) -> None:
    values = {
        "anomalies": "($1, 1, 'made_up', 'm', NULL, NULL, $2)",
        "audit_logs": "($1, 1, 'made.up', NULL, NULL, NULL, NULL, NULL, $2, $2)",
    }[table]
    await update(projected, f"INSERT INTO projection.{table} VALUES {values}", run_id, seconds(0))

    report = await verify(projected)

    assert not report.ok
    [(found_table, key, kind, _)] = _named(report)
    assert (found_table, key[0], kind) == (table, run_id, "surplus")


async def test_hundreds_of_surplus_rows_are_all_counted(projected: Tenant) -> None:
    for prefix in ("$before-", "run-"):
        await update(
            projected,
            "INSERT INTO projection.anomalies SELECT $2 || left(md5(n::text), 5) || n, n, 'made_up', '', "
            "NULL, NULL, $1 FROM generate_series(1, 950) n",
            seconds(0),
            prefix,
        )

    report = await verify(projected)

    assert not report.ok
    assert report.difference_count == 1_900
    assert len(report.differences) == DIFFERENCES_MAX
    assert report.tables["anomalies"].rows == 1_903


async def test_surplus_rows_of_a_tenant_without_events_are_all_counted(tenant: Tenant) -> None:
    await update(
        tenant,
        "INSERT INTO projection.anomalies "
        "SELECT 'run-' || n, n, 'made_up', '', NULL, NULL, $1 FROM generate_series(1, 450) n",
        seconds(0),
    )

    assert (await verify(tenant)).difference_count == 450


async def test_a_checkpoint_ahead_of_the_head_is_found(projected: Tenant) -> None:
    await update(projected, "UPDATE projection.checkpoints SET position = 25")

    report = await verify(projected)

    assert not report.ok
    assert _named(report) == [("checkpoints", ("core",), "ahead_of_head", ())]
    assert str(report.differences[0]) == "checkpoints core: ahead of head"


async def test_a_checkpoint_that_went_back_is_found(projected: Tenant) -> None:
    await update(projected, "UPDATE projection.checkpoints SET position = 8")

    report = await verify(projected)

    assert not report.ok
    assert {key[0] for _, key, kind, _ in _named(report)} == {"run-1", "run-2"}
    assert {kind for _, _, kind, _ in _named(report)} == {"surplus"}


async def test_a_missing_checkpoint_is_found(projected: Tenant) -> None:
    await update(projected, "DELETE FROM projection.checkpoints")

    report = await verify(projected)

    assert not report.ok
    assert ("checkpoints", ("core",), "missing", ()) in _named(report)


async def test_a_run_that_nobody_recorded_is_not_called_equal(projected: Tenant) -> None:
    with pytest.raises(RunNotFound):
        await verify(projected, run_id="run-9")

    await update(
        projected,
        "INSERT INTO projection.anomalies VALUES ('run-9', 1, 'made_up', 'm', NULL, NULL, $1)",
        seconds(0),
    )
    report = await verify(projected, run_id="run-9")
    assert _named(report) == [("anomalies", ("run-9", 1, "made_up"), "surplus", ())]
    await busy_run(projected, "run-later")  # recorded, and not in the tables yet
    assert (await verify(projected, run_id="run-later")).ok


async def test_verification_changes_nothing(projected: Tenant) -> None:
    await update(projected, "UPDATE projection.runs SET status = 'failed'")
    before = await live_records(projected)

    assert not (await verify(projected)).ok

    assert await live_records(projected) == before
    assert await projected.store.head() == 24


async def test_it_stays_equal_while_events_are_appended_and_projected_at_full_speed(
    settings: Settings, ledger: Ledger, tenant: Tenant
) -> None:
    projector = Projector(tenant.store)
    following = asyncio.create_task(projector.run_until_cancelled())
    emitting = [asyncio.create_task(_emit_for_ever(tenant, f"emitter-{number}")) for number in range(4)]
    try:
        reports = [await verify(tenant) for _ in range(10)]
    finally:
        for task in (*emitting, following):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await projector.close()

    assert [str(found) for report in reports for found in report.differences] == []
    assert all(report.ok for report in reports)
    assert len({report.position for report in reports}) > 3, "nothing moved meanwhile"


async def _emit_for_ever(tenant: Tenant, name: str) -> None:
    number = 0
    while True:
        await busy_run(tenant, f"{name}-{number % 20}")
        number += 1


async def test_a_run_that_only_started_is_equal_too(tenant: Tenant) -> None:
    await tenant.emitter.emit(started(tenant, "run-1"))
    await catch_up(tenant)
    async with connected(tenant) as connection:
        assert await connection.fetchval("SELECT status FROM projection.runs") == "running"
    assert (await verify(tenant)).ok

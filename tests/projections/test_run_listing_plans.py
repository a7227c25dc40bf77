"""How runs are found among a million: by an index, and without looking at many that are not wanted."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from database_rows import connected

from ledger import Settings, Tenant
from ledger.store.server import Connection
from projections.run_listing import RunFilter, listing_statement

LIMIT = 21
START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS_MAX = 40 * LIMIT
"""What a page may look at: the planner may walk past some rows, never past a share of the table."""

# One run per 10 positions and second. Few failed. The pack `old`, the step `legacy`, retryable failures are
# of the oldest tenth alone: whoever walks from the newest run finds none of them for long.
RUNS = """
INSERT INTO projection.runs (
    run_id, status, pipeline, prompt_pack_id, prompt_pack_version, started_at, first_recorded_at,
    first_position, last_position, last_version, steps, attempts, retries, failures, repairs, artifacts,
    anomalies, active_ms, retry_wait_ms, non_retryable_failures, lost,
    retryable_failures, validation_failures, error_category, error_message)
SELECT 'run-' || n,
       CASE WHEN n % 5000 = 0 THEN 'failed' WHEN n % 5001 = 0 THEN 'running' ELSE 'succeeded' END,
       'pipeline' || n % 3, CASE WHEN n < $1 / 10 THEN 'old' ELSE 'new' END, (n % 7)::text,
       $2::timestamptz + n * interval '1 second', $2::timestamptz + n * interval '1 second',
       n * 10, n * 10 + 9, 10, 1, 1, 0, 0, 0, 0,
       0, 0, 0, 0, 0,
       CASE WHEN n < $1 / 10 THEN 1 ELSE 0 END, CASE WHEN n % 5002 = 0 THEN 1 ELSE 0 END,
       CASE WHEN n % 5000 = 0 THEN 'non_retryable' END,
       CASE WHEN n % 5000 = 0 THEN 'the page ' || n || ' was not found' END
  FROM generate_series(1, $1::bigint) AS n
"""
STEPS = """
INSERT INTO projection.steps (
    run_id, step_id, status, attempts, retries, failures, lost, repairs, active_ms, retry_wait_ms,
    run_first_position, first_position, last_position, error_category)
SELECT run_id, CASE prompt_pack_id WHEN 'old' THEN 'legacy' ELSE 'draft' END, 'succeeded',
       1, 0, 0, 0, 0, 0, 0, first_position, first_position + 1, first_position + 9, error_category
  FROM projection.runs
"""

CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"runs_first_position_idx"}),
    ({"status": "failed"}, {"runs_status_idx"}),
    ({"status": "succeeded"}, {"runs_status_idx", "runs_first_position_idx"}),
    ({"since": START + timedelta(days=1)}, {"runs_first_recorded_at_idx"}),
    ({"since": START, "until": START + timedelta(days=1)}, {"runs_first_recorded_at_idx"}),
    ({"status": "failed", "until": START + timedelta(days=1)}, {"runs_status_idx"}),
    ({"step": "legacy"}, {"steps_step_idx"}),
    ({"step": "draft"}, {"steps_step_idx"}),
    ({"step": "draft", "error_category": "non_retryable"}, {"steps_error_idx"}),
    ({"error_category": "retryable"}, {"runs_retryable_idx"}),
    ({"error_category": "non_retryable"}, {"runs_non_retryable_idx"}),
    ({"error_category": "validation_fail"}, {"runs_validation_fail_idx"}),
    ({"prompt_pack": "old"}, {"runs_prompt_pack_idx"}),
    ({"prompt_pack": "old", "prompt_pack_version": "3"}, {"runs_prompt_pack_version_idx"}),
    ({"text": "page 5000"}, {"runs_text_idx"}),
    ({"text": "run-77777"}, {"runs_text_idx"}),
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


async def fill(connection: Connection, runs: int) -> None:
    """Indexes last, as a rebuild makes them."""
    tables = ["runs", "steps"]
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'projection' AND tablename = ANY($1) "
        "AND indexname NOT LIKE '%_pkey'",
        tables,
    )
    for row in indexes:
        await connection.execute(f"DROP INDEX projection.{row['indexname']}")
    for table in tables:
        await connection.execute(f"ALTER TABLE projection.{table} SET UNLOGGED")
    await connection.execute(RUNS, runs, START)
    await connection.execute(STEPS)
    await connection.execute("SET maintenance_work_mem = '256MB'")
    for row in indexes:
        await connection.execute(row["indexdef"])
    await connection.execute("VACUUM ANALYZE projection.runs, projection.steps")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def explained(connection: Connection, wanted: RunFilter, after: int | None) -> list[dict[str, Any]]:
    statement, arguments = listing_statement(wanted, limit=LIMIT, after=after)
    plan = await connection.fetchval(
        f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF, FORMAT JSON) {statement}", *arguments
    )
    return list(nodes(orjson.loads(plan)[0]["Plan"]))


@pytest.mark.parametrize(
    "runs", [100_000, pytest.param(1_000_000, marks=pytest.mark.torture)], ids=["100k", "1M"]
)
async def test_every_filter_finds_its_page_by_an_index(tenant: Tenant, runs: int) -> None:
    problems: list[str] = []
    async with connected(tenant) as connection:
        began = time.monotonic()
        await fill(connection, runs)
        print(f"{runs} runs: {time.monotonic() - began:.1f} s")
        for wanted, indexes in CASES:
            for after in (None, runs * 5):
                found = await explained(connection, RunFilter(**wanted), after)
                used = {node["Index Name"] for node in found if "Index Name" in node}
                looked_at = sum(
                    node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
                    for node in found
                    if "Scan" in node["Node Type"]
                )
                if not used & indexes or any(node["Node Type"] == "Seq Scan" for node in found):
                    problems.append(f"{wanted} after {after}: {[node['Node Type'] for node in found]} {used}")
                if looked_at > ROWS_MAX:
                    problems.append(f"{wanted} after {after}: looked at {looked_at} rows, {used}")
    assert not problems, "\n".join(problems)

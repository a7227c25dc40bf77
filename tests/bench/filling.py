"""A log of any size for questions to be asked of, copied straight into the table: runs of 1,000 events, a
hundred of them under way at once, so that their events lie interleaved; and, at the end, one long run alone.

A run is a chain of steps, each of which reads what the one before it made. Every eleventh fails first and is
tried again; every seventh has what it made repaired. The same numbers give the same events.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson

from ledger import EventType, Tenant
from ledger.contract.uuid7 import tick_of, uuid_of
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role

START = datetime(2026, 1, 1, tzinfo=UTC)
START_NANOSECONDS = round(START.timestamp()) * 1_000_000_000
RUN_EVENTS = 1_000
RUNS_AT_ONCE = 100
LONG_RUN = "long-run"
COPY_EVENTS = 20_000
T = EventType


async def fill(tenant: Tenant, events: int, long_run_events: int) -> None:
    """Fills the empty log of `tenant` with about `events` events: whole runs, then the long one."""
    connection = await tenant.database.connect(Role.OWNER, synchronous_commit="off")
    indexes = load_statements("ledger.migrations.tenant", "sql/0008_search.sql")
    named = ("by_type", "by_step", "by_actor", "first_of_stream")
    try:
        dropped = load_statements("ledger.migrations.tenant", "sql/0008_downgrade.sql")["events"]
        await connection.execute(dropped)
        position, records = 0, []
        for position, record in enumerate(_records(tenant.tenant_id, events, long_run_events), 1):
            records.append((position, START + timedelta(milliseconds=position), *record))
            if len(records) == COPY_EVENTS:
                await _copy(connection, records)
                records = []
        await _copy(connection, records)
        await connection.execute("UPDATE ledger.head SET position = $1, recorded_at = now()", position)
        for name in named:
            await connection.execute(indexes[name])
        await connection.execute("ANALYZE ledger.events")
    finally:
        await connection.close()


def run_name(number: int) -> str:
    return f"run-{number:06}"


def _records(tenant_id: str, events: int, long_run_events: int) -> Iterator[tuple[Any, ...]]:
    runs = max(1, (events - long_run_events) // RUN_EVENTS)
    number = 0
    for first in range(0, runs, RUNS_AT_ONCE):
        under_way = [
            _run(tenant_id, run_name(run), RUN_EVENTS)
            for run in range(first, min(runs, first + RUNS_AT_ONCE))
        ]
        for version in range(1, RUN_EVENTS + 1):
            for run in under_way:
                number += 1
                yield _record(number, version, *next(run))
    for version, said in enumerate(_run(tenant_id, LONG_RUN, long_run_events), 1):
        number += 1
        yield _record(number, version, *said)


def _record(
    number: int, version: int, run_id: str, kind: EventType, step_id: str | None, payload: dict[str, Any]
) -> tuple[Any, ...]:
    data = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    salt = number.to_bytes(16)
    commitment = sha256(b"daicho:payload:v1\x00" + salt + data).digest()
    at = START + timedelta(milliseconds=number)
    event_id = uuid_of(tick_of(START_NANOSECONDS + number * 1_000_000), commitment[:8])
    attempt = None if step_id is None else 1
    actor = f"worker-{number % 7}" if step_id else None
    return (
        version, at, event_id, attempt, 1, run_id, kind.value, step_id, actor,
        None, data, salt, commitment,
    )  # fmt: skip


async def _copy(connection: Any, records: list[tuple[Any, ...]]) -> None:
    columns = (
        "position", "recorded_at", "version", "occurred_at", "event_id", "attempt", "schema_version",
        "stream_id", "event_type", "step_id", "actor", "traceparent", "payload", "salt", "payload_commitment",
    )  # fmt: skip
    await connection.copy_records_to_table("events", schema_name="ledger", records=records, columns=columns)


def _run(
    tenant_id: str, run_id: str, events: int
) -> Iterator[tuple[str, EventType, str | None, dict[str, Any]]]:
    """Exactly so many events, whatever step they end in."""
    pack = {"pack_id": "mock_pack", "version": 1, "digest": "ab" * 32}
    yield run_id, T.RUN_STARTED, None, {"prompt_pack": pack, "pipeline": "article"}
    told, number = 1, 0
    while True:
        for kind, payload in _step(tenant_id, run_id, number):
            if told == events - 1:
                yield run_id, T.RUN_SUCCEEDED, None, {}
                return
            told += 1
            yield run_id, kind, f"step-{number}", payload
        number += 1


def _step(tenant_id: str, run_id: str, number: int) -> Iterator[tuple[EventType, dict[str, Any]]]:
    def ref(of_step: int, body: str = "") -> dict[str, Any]:
        path = f"storage/{tenant_id}/{run_id}/step-{of_step}/output-{of_step}.json"
        digest = sha256(f"{path}{body}".encode()).hexdigest()
        return {
            "path": path,
            "digest": digest,
            "content_type": "application/json",
            "size_bytes": 18_211,
            "created_at": "2026-01-01T00:00:00.123456Z",
        }

    begin: dict[str, Any] = {"model": "m-large", "prompt": {"name": "draft", "version": 2}}
    if number:
        begin["inputs"] = [ref(number - 1)]
    made = ref(number)
    if number % 11 == 10:
        error = {
            "step_id": "draft",
            "category": "retryable",
            "message": f"connection reset by peer {number}",
            "occurred_at": "2026-01-01T00:00:00Z",
        }
        yield T.STEP_STARTED, begin
        yield T.STEP_FAILED, {"error": error, "will_retry": True, "duration_ms": 40 + number % 100}
    yield T.STEP_STARTED, begin
    if number % 7 == 6:
        broken = ref(number, "broken")
        yield T.ARTIFACT_STORED, {"name": f"output-{number}.json", "ref": broken}
        yield T.REPAIR_APPLIED, {"kind": "json_fix", "validator": "schema", "before": broken, "after": made}
    else:
        yield T.ARTIFACT_STORED, {"name": f"output-{number}.json", "ref": made}
    said = {"validator": "schema", "passed": True, "issues": [], "checked_at": "2026-01-01T00:00:00Z"}
    yield (
        T.STEP_SUCCEEDED,
        {
            "outputs": {"output": made},
            "validation_reports": [said],
            "usage": {"model": "m-large", "input_tokens": 1800, "output_tokens": 950, "cost": "0.0123"},
            "duration_ms": 100 + number % 900,
        },
    )

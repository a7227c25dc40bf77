"""History: events by the million, as an article pipeline leaves them, copied straight into the log.

Of the steps 60 % are clean; others are retried, fail for good, or are repaired. Steps store one to three
artifacts. Some hundred runs are under way at any time, so that their events lie interleaved; run ids are
random, so that neighbours in the index are strangers in the table. The same seed makes the same events.
"""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Any
from uuid import UUID

import orjson

from ledger import Tenant
from ledger.contract.events import PAYLOAD_MODELS, EventType
from ledger.store.tenant_database import Role

START = datetime(2026, 1, 1, tzinfo=UTC)
AT = "2026-01-01T00:00:00.123456+00:00"
STEPS = ("keywords", "outline", "draft", "validate", "links", "render")
RUNS_AT_ONCE = 300
COPY_EVENTS = 20_000
_COMMITMENT = b"daicho:payload:v1\x00"
_COLUMNS = (
    "position", "version", "recorded_at", "occurred_at", "event_id", "attempt", "schema_version", "stream_id",
    "event_type", "step_id", "actor", "traceparent", "payload", "salt", "payload_commitment",
)  # fmt: skip

Said = tuple[EventType, str | None, int | None, dict[str, Any]]
T = EventType


async def append_history(tenant: Tenant, events: int, *, seed: int = 1) -> None:
    """Appends `events` events to an empty log and moves the head. Every thousandth is checked against
    the payload model of its type."""
    connection = await tenant.database.connect(Role.OWNER, synchronous_commit="off")
    try:
        await connection.execute("ALTER TABLE ledger.events SET (autovacuum_enabled = off)")
        records: list[tuple[Any, ...]] = []
        for record in records_of(tenant.tenant_id, events, random.Random(seed)):
            records.append(record)
            if len(records) == COPY_EVENTS:
                await _copy(connection, records)
                records = []
        await _copy(connection, records)
        await connection.execute(
            "UPDATE ledger.head SET position = $1, recorded_at = $2", events, START + timedelta(days=300)
        )
        await connection.execute("ALTER TABLE ledger.events RESET (autovacuum_enabled)")
        await connection.execute("ANALYZE ledger.events")
    finally:
        await connection.close()
    await asyncio.sleep(0)


async def _copy(connection: Any, records: list[tuple[Any, ...]]) -> None:
    await connection.copy_records_to_table("events", schema_name="ledger", records=records, columns=_COLUMNS)


def records_of(tenant_id: str, count: int, chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Rows of the log, their columns in the order of `_COLUMNS`."""
    for position, said in enumerate(islice(interleaved(tenant_id, chance), count), 1):
        run_id, version, (event_type, step_id, attempt, payload) = said
        data = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
        if position % 1000 == 1:
            PAYLOAD_MODELS[event_type].model_validate_json(data, strict=True)
        at = START + timedelta(milliseconds=position * 5)
        salt = position.to_bytes(16)
        yield (
            position, version, at + timedelta(milliseconds=3), at, UUID(int=position), attempt, 1, run_id,
            event_type.value, step_id, "worker-1", None, data, salt,
            sha256(_COMMITMENT + salt + data).digest(),
        )  # fmt: skip


def interleaved(tenant_id: str, chance: random.Random) -> Iterator[tuple[str, int, Said]]:
    """What is said of run after run, without end: the run's id, the version, and what."""
    under_way: list[tuple[str, Iterator[tuple[int, Said]]]] = []
    while True:
        while len(under_way) < RUNS_AT_ONCE:
            run_id = f"article-{chance.getrandbits(48):012x}"
            under_way.append((run_id, enumerate(_run(tenant_id, run_id, chance), 1)))
        index = int(chance.random() * RUNS_AT_ONCE)
        run_id, events = under_way[index]
        said = next(events, None)
        if said is None:
            under_way.pop(index)
        else:
            yield run_id, *said


def _run(tenant_id: str, run_id: str, chance: random.Random) -> Iterator[Said]:
    brief = _ref(tenant_id, run_id, "brief", "brief.json", chance)
    pack = {"pack_id": "house", "version": 7, "digest": "ab" * 32}
    started = {
        "pipeline": "article", "prompt_pack": pack, "inputs": [brief],
        "labels": {"customer": "acme", "lang": "en"},
        "config": {"model": "m-large", "max_words": 1200},
    }  # fmt: skip
    yield T.RUN_STARTED, None, None, started
    last = brief
    for step in STEPS:
        draw = chance.random()
        fails = 0 if draw < 0.6 else (1 if draw < 0.85 else 2)
        for attempt in range(1, fails + 1):
            yield T.STEP_STARTED, step, attempt, _step_started(last)
            error = _error(step, attempt, chance)
            gives_up = draw > 0.985 and attempt == fails
            yield (
                T.STEP_FAILED, step, attempt,
                {"error": error, "will_retry": not gives_up, "retry_delay_ms": 1000, "duration_ms": 812,
                 "inputs_read": [last]},
            )  # fmt: skip
            if gives_up:
                yield T.RUN_FAILED, None, None, {"error": error}
                return
            yield T.STEP_RETRYING, step, attempt + 1, {"previous_attempt": attempt, "delay_ms": 1000}
        attempt = fails + 1
        yield T.STEP_STARTED, step, attempt, _step_started(last)
        outputs = {}
        for number in range(1 + int(chance.random() * 3)):
            name = f"{step}{number or ''}.json"
            outputs[name] = ref = _ref(tenant_id, run_id, step, name, chance)
            yield T.ARTIFACT_STORED, step, attempt, {"name": name, "ref": ref}
        if chance.random() < 0.1:
            name = f"{step}.json"
            after = _ref(tenant_id, run_id, step, name, chance)
            repair = {"kind": "json_fix", "before": outputs[name], "after": after, "note": "closed a brace"}
            yield T.REPAIR_APPLIED, step, attempt, repair
            outputs[name] = after
        succeeded: dict[str, Any] = {"inputs_read": [last], "outputs": outputs, "duration_ms": 8123}
        if step in {"outline", "draft"}:
            succeeded["usage"] = {
                "model": "m-large", "input_tokens": 1800, "output_tokens": 950, "cost": "0.0123",
                "currency": "USD",
            }  # fmt: skip
        if step == "validate":
            succeeded["validation_reports"] = [
                {"validator": "schema", "passed": True, "issues": [], "checked_at": AT}
            ]
        yield T.STEP_SUCCEEDED, step, attempt, succeeded
        last = outputs[f"{step}.json"]
    yield T.RUN_SUCCEEDED, None, None, {"outputs": {"output": last}}


def _step_started(last: dict[str, Any]) -> dict[str, Any]:
    engine = {"name": "temporal", "workflow_id": "article", "activity_id": "7", "queue": "articles"}
    return {"inputs": [last], "timeout_seconds": 30, "worker": "worker-1@host-3", "engine": engine}


def _error(step: str, attempt: int, chance: random.Random) -> dict[str, Any]:
    return {
        "step_id": step, "attempt": attempt, "category": chance.choice(["retryable", "validation_fail"]),
        "message": "the model's endpoint closed the connection", "occurred_at": AT,
        "details": {"status": 503, "host": "models.example"},
    }  # fmt: skip


def _ref(tenant_id: str, run_id: str, step: str, name: str, chance: random.Random) -> dict[str, Any]:
    return {
        "path": f"storage/{tenant_id}/{run_id}/{step}/{name}", "digest": f"{chance.getrandbits(256):064x}",
        "content_type": "application/json", "size_bytes": 18_211, "created_at": AT,
    }  # fmt: skip

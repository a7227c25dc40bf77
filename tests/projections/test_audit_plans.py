"""Every statement of the audit takes an index, in a log of 60,000 events (a million under `make torture`);
without the indexes of migration 0008 the answers are the same."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from database_rows import connected

from ledger import Tenant
from ledger.errors import DaichoError
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role
from projections import rebuild
from projections.audit import Answer, AuditQueries, Point
from projections.audit.runs import RunReader
from tests.bench.filling import fill, run_name

Asked = Callable[[AuditQueries], Awaitable[Any]]
SCANS = {("Seq Scan", table) for table in ("events", "attempts", "audit_logs")}
RANGE = {"since": 29_900, "until": 30_100}
MIDDLE = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)


async def refused(question: Awaitable[Any]) -> str:
    with pytest.raises(DaichoError) as error:
        await question
    return str(error.value)


QUESTIONS: dict[str, tuple[Asked, str]] = {
    "everything": (lambda audit: audit.search(text="reset by peer 10"), "events_pkey"),
    "a run": (lambda audit: audit.search(run_id=run_name(3), text="nowhere"), "events_stream_version_key"),
    "a rare type": (lambda audit: audit.search(types=["run.succeeded"]), "events_type_idx"),
    "a common type": (lambda audit: audit.search(types=["step.started"], text="nowhere"), "events_type_idx"),
    "a category": (lambda audit: audit.search(category="retryable", step_id="step-10"), "events_type_idx"),
    "a step": (lambda audit: audit.search(step_id="step-10"), "events_step_idx"),
    "an actor": (lambda audit: audit.search(actor="worker-3"), "events_actor_idx"),
    "a time": (lambda audit: audit.search(since=MIDDLE, until=MIDDLE), "events_pkey"),
    "runs as of": (lambda audit: audit.runs_at(MIDDLE, limit=3), "events_first_idx"),
    "open runs as of": (lambda audit: audit.runs_at(MIDDLE, status="running", limit=3), "events_type_idx"),
    "a version": (lambda audit: audit.state(run_name(3), Point(version=10)), "events_stream_version_key"),
    "a timeline": (lambda audit: audit.timeline(run_name(3)), "events_stream_version_key"),
    "step and actor": (lambda audit: audit.search(step_id="step-10", actor="worker-3"), "events_step_idx"),
    "an unknown step": (lambda audit: refused(audit.search(step_id="step-x")), "events_step_idx"),
    "an unknown actor": (lambda audit: refused(audit.search(actor="worker-x")), "events_actor_idx"),
    "an unknown type": (lambda audit: refused(audit.search(types=["step.faild"])), "events_type_idx"),
    "ended attempts": (
        lambda audit: audit.statistics(since=29_900, until=30_100),
        "attempts_ended_position_idx",
    ),
    "repairs": (lambda audit: audit.statistics(since=29_900, until=30_100), "audit_logs_repairs_idx"),
    "reports": (lambda audit: audit.statistics(since=29_900, until=30_100), "attempts_reports_idx"),
    "a state": (lambda audit: audit.state_at(run_name(3)), "events_stream_version_key"),
}


@pytest.mark.parametrize(
    ("events", "long_run"),
    [(60_000, 10_000), pytest.param(1_000_000, 100_000, marks=pytest.mark.torture)],
    ids=["60 thousand", "a million"],
)
async def test_every_question_takes_its_index_and_needs_none(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, events: int, long_run: int
) -> None:
    await fill(tenant, events, long_run)
    await rebuild(tenant)  # statistics ask the tables
    audit, answers = AuditQueries(tenant), {}
    for name, (ask, index) in QUESTIONS.items():
        statements: list[tuple[str, tuple[Any, ...]]] = []
        with monkeypatch.context() as patched:
            patched.setattr(tenant.reader, "fetch", _remembering(tenant, statements))
            answers[name] = await ask(audit)
        plans = [await _plan(tenant, *statement) for statement in statements]
        assert not [scan for plan in plans for scan in plan if scan in SCANS], name
        assert index in {used for plan in plans for used in plan}, name
    for span in (RANGE, {"since": MIDDLE}, {"until": MIDDLE}, {}):
        afresh = await audit.statistics(**span, source="events")
        assert afresh.model_copy(update={"source": "tables"}) == await audit.statistics(**span)
    half = await RunReader(tenant).position_at(MIDDLE)
    assert half == 30_000

    async with connected(tenant, Role.OWNER) as owner:
        await owner.execute(load_statements("ledger.migrations.tenant", "sql/0008_downgrade.sql")["events"])
    if events <= 60_000:
        for name, (ask, _) in QUESTIONS.items():
            assert _said(await ask(audit)) == _said(answers[name]), name


def _said(answer: Any) -> Any:
    return answer.model_dump() if isinstance(answer, Answer) else answer


def _remembering(tenant: Tenant, into: list[tuple[str, tuple[Any, ...]]]) -> Any:
    fetch = tenant.reader.fetch

    async def remember(statement: str, *arguments: Any, **options: Any) -> Any:
        into.append((statement, arguments))
        return await fetch(statement, *arguments, **options)

    return remember


async def _plan(tenant: Tenant, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
    """Every index by name, and every sequential scan with its table."""
    [row] = await tenant.reader.fetch(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
    found: list[Any] = []
    waiting = [orjson.loads(row[0])[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if "Index Name" in node:
            found.append(node["Index Name"])
        elif node["Node Type"] == "Seq Scan":
            found.append(("Seq Scan", node["Relation Name"]))
    return found

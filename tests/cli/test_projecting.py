"""`daicho rebuild` and `daicho verify`: whole, in parts, only to compare; and how far they say they are."""

import asyncio
import json
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from ledger import Event, Ledger, Settings
from ledger.cli import main
from ledger.control.audit import this_actor
from ledger.store.tenant_database import Role
from projections import Projector


@pytest.fixture
def tenant_id(settings: Settings) -> str:
    return asyncio.run(_prepare(settings))


async def _prepare(settings: Settings) -> str:
    tenant_id = f"t-{uuid4().hex[:12]}"
    async with await Ledger.open(settings.model_copy(update={"projection": "external"})) as ledger:
        await ledger.tenants.create_tenant_db(tenant_id, "A tenant of a test")
        tenant = await ledger.tenant(tenant_id)
        for run_id in ("run-1", "run-2"):
            await tenant.emitter.emit(
                Event(event_type="run.succeeded", run_id=run_id, tenant_id=tenant_id, payload={})
            )
        projector = Projector(tenant.store)
        await projector.catch_up()
        await projector.close()
    return tenant_id


@pytest.fixture
def daicho(settings: Settings, monkeypatch: pytest.MonkeyPatch, tenant_id: str) -> CliRunner:
    monkeypatch.setenv("DAICHO_HOME", str(settings.home))
    monkeypatch.setenv("DAICHO_TENANT", tenant_id)
    return CliRunner()


def _harm(settings: Settings, tenant_id: str, statement: str) -> None:
    async def harm() -> None:
        async with await Ledger.open(settings.model_copy(update={"projection": "external"})) as ledger:
            connection = await (await ledger.tenant(tenant_id)).database.connect(Role.PROJECTOR)
            await connection.execute(statement)
            await connection.close()

    asyncio.run(harm())


def _call(daicho: CliRunner, *arguments: str) -> Result:
    return daicho.invoke(main, arguments)


def test_a_run_is_compared_repaired_and_equal_again(
    daicho: CliRunner, settings: Settings, tenant_id: str
) -> None:
    _harm(settings, tenant_id, "UPDATE projection.runs SET status = 'running' WHERE run_id = 'run-2'")

    compared = _call(daicho, "rebuild", "--run", "run-2", "--dry-run")
    assert compared.exit_code == 1
    assert "runs run-2: differs in status" in compared.output
    assert _call(daicho, "verify", "--run", "run-1").exit_code == 0
    verified = _call(daicho, "verify", "--json")
    assert (verified.exit_code, json.loads(verified.stdout)["ok"]) == (1, False)

    assert _call(daicho, "rebuild", "--run", "run-2").exit_code == 0
    assert _call(daicho, "verify").exit_code == 0


def test_one_table_is_rebuilt(daicho: CliRunner, settings: Settings, tenant_id: str) -> None:
    _harm(settings, tenant_id, "DELETE FROM projection.anomalies")
    assert _call(daicho, "verify", "--table", "anomalies").exit_code == 1
    assert _call(daicho, "verify", "--table", "runs").exit_code == 0

    rebuilt = _call(daicho, "rebuild", "--table", "anomalies", "--workers", "1", "--json")

    assert rebuilt.exit_code == 0
    report = json.loads(rebuilt.stdout)
    assert (report["rows"], report["workers"]) == ({"anomalies": 2}, 1)
    assert _call(daicho, "verify", "--sample", "50").exit_code == 0


def test_who_rebuilt_and_why_stand_in_the_audit_log(
    daicho: CliRunner, settings: Settings, tenant_id: str
) -> None:
    assert _call(daicho, "rebuild").exit_code == 0
    assert _call(daicho, "rebuild", "--by", "ada", "--reason", "a disk was replaced").exit_code == 0
    assert _call(daicho, "rebuild", "--run", "run-1", "--reason", "ticket 7").exit_code == 0

    async def acts() -> list[tuple[object, ...]]:
        async with await Ledger.open(settings) as ledger:
            tenant = await ledger.tenant(tenant_id)
            await tenant.wait_projected(await tenant.store.head())
            rows = await tenant.reader.fetch(
                "SELECT actor, reason, subject, details ->> 'run_id' FROM projection.audit_logs "
                "WHERE action = 'projection.rebuilt' ORDER BY position"
            )
            return [tuple(row) for row in rows]

    assert asyncio.run(acts()) == [
        (this_actor(), None, "position 2", None),
        ("ada", "a disk was replaced", "position 3", None),
        (this_actor(), "ticket 7", "position 3", "run-1"),
    ]


def test_a_dry_run_changes_nothing_and_leaves_no_record(
    daicho: CliRunner, settings: Settings, tenant_id: str
) -> None:
    _harm(settings, tenant_id, "UPDATE projection.runs SET status = 'running'")

    for _ in range(2):
        compared = _call(daicho, "rebuild", "--dry-run", "--json")
        assert compared.exit_code == 1
        found = json.loads(compared.stdout)
        assert (found["difference_count"], found["position"]) == (2, 2)

    async def head() -> int:
        async with await Ledger.open(settings.model_copy(update={"projection": "external"})) as ledger:
            return await (await ledger.tenant(tenant_id)).store.head()

    assert asyncio.run(head()) == 2


def test_progress_is_plain_lines_where_there_is_no_terminal(daicho: CliRunner) -> None:
    rebuilt = _call(daicho, "rebuild")
    assert rebuilt.exit_code == 0
    said = [line for line in rebuilt.stderr.splitlines() if line]
    assert said[0] == "folding: 2 events"
    assert said[-1] == "swapping"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rebuild", "--table", "runs", "--run", "run-1"], "--table or --run, not both"),
        (["rebuild", "--table", "rnus"], "no table 'rnus'"),
        (["rebuild", "--run", "nobody"], "no event of run 'nobody'"),
        (["rebuild", "--projection", "costs"], "no projection 'costs'"),
        (["rebuild", "--workers", "-1"], "-1 is not in the range"),
        (["verify", "--sample", "0"], "0 is not in the range"),
        (["verify", "--table", "rnus"], "no table 'rnus'"),
        (["verify", "--run", "nobody"], "no event of run 'nobody'"),
        (["rebuild", "--dry-run", "--run", "nobody"], "no event of run 'nobody'"),
        (["rebuild", "--by", ""], "cannot stand in the audit trail as `by`"),
        (["rebuild", "--reason", "two\nlines"], "cannot stand in the audit trail as `reason`"),
    ],
)
def test_wrong_usage_is_told(daicho: CliRunner, arguments: list[str], said: str) -> None:
    answer = _call(daicho, *arguments)
    assert answer.exit_code == 2
    assert said in answer.output
    assert "Traceback" not in answer.output

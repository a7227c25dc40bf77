"""daicho doctor: each guard that somebody disarmed is named, with what to do, and stays as it was found."""

import json

import pytest

from ledger import Event, Ledger, Tenant
from ledger.control import guards
from ledger.control.guards import Finding, inspect_server, inspect_tenant
from ledger.control.guards_expected import EXECUTORS, routines
from ledger.store.tenant_database import Role
from tests.support.command_line import CommandLine

# What somebody did as a superuser -> the guard that is missing and a word of what is said of it.
DISARMED: dict[str, tuple[str, str]] = {
    "ALTER TABLE ledger.events DISABLE TRIGGER immutable": ("trigger events.immutable", "disabled"),
    "ALTER TABLE ledger.events ENABLE TRIGGER immutable": ("trigger events.immutable", "not ENABLE ALWAYS"),
    "ALTER TABLE ledger.events ENABLE REPLICA TRIGGER not_truncated": (
        "trigger events.not_truncated",
        "replicas alone",
    ),
    "ALTER TABLE ledger.head DISABLE TRIGGER ALL": ("trigger head.only_advances", "disabled"),
    "DROP TRIGGER immutable ON ledger.identity": ("trigger identity.immutable", "not there"),
    "DROP TRIGGER erasure_recorded ON ledger.events": ("trigger events.erasure_recorded", "not there"),
    """DROP TRIGGER immutable ON ledger.events;
       CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON ledger.events FOR EACH ROW
       WHEN (OLD.position > 9) EXECUTE FUNCTION ledger.only_erasure_v1();
       ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable""": ("trigger events.immutable", "another"),
    """CREATE TRIGGER aside BEFORE INSERT ON ledger.events FOR EACH ROW
       EXECUTE FUNCTION suppress_redundant_updates_trigger()""": (
        "trigger events.aside",
        "no migration made it",
    ),
    "CREATE RULE hide AS ON DELETE TO ledger.events DO INSTEAD NOTHING": (
        "rule hide on ledger.events",
        "no migration made it",
    ),
    "ALTER TABLE ledger.events ENABLE ROW LEVEL SECURITY": ("row-level security on ledger.events", ""),
    'GRANT UPDATE ON ledger.events TO "{writer}"': ("grants on table ledger.events", "{writer} may UPDATE"),
    'GRANT SELECT ON ledger.events TO "{writer}"': ("grants on table ledger.events", "{writer} may SELECT"),
    'GRANT UPDATE (payload) ON ledger.events TO "{projector}"': (
        "grants on table ledger.events (payload)",
        "{projector} may UPDATE",
    ),
    'GRANT SELECT ON ledger.events TO "{reader}" WITH GRANT OPTION': (
        "grants on table ledger.events",
        "WITH GRANT OPTION",
    ),
    'REVOKE SELECT ON ledger.head FROM "{reader}"': ("grants on table ledger.head", "may not SELECT"),
    "GRANT SELECT ON projection.runs TO PUBLIC": ("grants on table projection.runs", "PUBLIC may SELECT"),
    "GRANT EXECUTE ON FUNCTION ledger.erase_payload_v1 TO PUBLIC": (
        "grants on routine ledger.erase_payload_v1",
        "PUBLIC may EXECUTE",
    ),
    'GRANT EXECUTE ON FUNCTION ledger.erase_payload_v1 TO "{writer}"': (
        "grants on routine ledger.erase_payload_v1",
        "{writer} may EXECUTE",
    ),
    'REVOKE EXECUTE ON FUNCTION ledger.append_event_v1 FROM "{writer}"': (
        "grants on routine ledger.append_event_v1",
        "may not EXECUTE",
    ),
    "GRANT USAGE ON SCHEMA ledger TO PUBLIC": ("grants on schema ledger", "PUBLIC may USAGE"),
    "GRANT CREATE ON SCHEMA public TO PUBLIC": ("grants on schema public", "PUBLIC may CREATE"),
    'GRANT CREATE ON SCHEMA ledger TO "{reader}"': ("grants on schema ledger", "{reader} may CREATE"),
    'GRANT CONNECT ON DATABASE "{database}" TO PUBLIC': (
        "grants on database {database}",
        "PUBLIC may CONNECT",
    ),
    'GRANT TEMP ON DATABASE "{database}" TO "{reader}"': (
        "grants on database {database}",
        "{reader} may TEMP",
    ),
    "ALTER FUNCTION ledger.append_event_v1 SET search_path = public, pg_catalog": (
        "function append_event_v1",
        "pinned to search_path=public, pg_catalog",
    ),
    "ALTER FUNCTION ledger.erase_payload_v1 RESET ALL": ("function erase_payload_v1", "pinned to nothing"),
    "ALTER FUNCTION ledger.append_event_v1 SECURITY INVOKER": (
        "function append_event_v1",
        "not SECURITY DEFINER",
    ),
    "ALTER FUNCTION ledger.refuse_change_v1 SECURITY DEFINER": (
        "function refuse_change_v1",
        "not SECURITY INVOKER",
    ),
    """CREATE OR REPLACE FUNCTION ledger.only_erasure_v1() RETURNS trigger LANGUAGE plpgsql
       SET search_path = pg_catalog, ledger, pg_temp AS 'BEGIN RETURN NEW; END'""": (
        "function only_erasure_v1",
        "something else",
    ),
    """CREATE OR REPLACE FUNCTION ledger.payload_commitment_v1(p_salt bytea, p_payload bytea) RETURNS bytea
       LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN sha256(''::bytea)""": (
        "function payload_commitment_v1",
        "computes something else",
    ),
    "CREATE FUNCTION ledger.back_door() RETURNS int LANGUAGE sql RETURN 1": (
        "function back_door",
        "no migration made it",
    ),
    "CREATE FUNCTION ledger.append_event_v1(a text) RETURNS int LANGUAGE sql RETURN 1": (
        "function append_event_v1",
        "not with these arguments",
    ),
    "ALTER FUNCTION ledger.append_event_v1 OWNER TO CURRENT_USER": (
        "owner of routine ledger.append_event_v1",
        "owns it",
    ),
    'ALTER TABLE ledger.events OWNER TO "{writer}"': ("owner of table ledger.events", "{writer} owns it"),
    'ALTER SCHEMA projection OWNER TO "{reader}"': ("owner of schema projection", "{reader} owns it"),
    'GRANT "{owner}" TO "{writer}"': ("role {owner}", "{writer} is a member"),
    'ALTER ROLE "{owner}" LOGIN': ("role {owner}", "may log in"),
    'ALTER ROLE "{reader}" NOLOGIN': ("role {reader}", "may not log in"),
    'ALTER ROLE "{writer}" SUPERUSER': ("role {writer}", "SUPERUSER"),
    'ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" GRANT EXECUTE ON FUNCTIONS TO PUBLIC': (
        "default privileges",
        "PUBLIC will have EXECUTE",
    ),
    'ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" GRANT INSERT ON TABLES TO "{writer}"': (
        "default privileges",
        "{writer} will have INSERT",
    ),
    "ALTER TABLE ledger.events DROP CONSTRAINT events_event_id_key": (
        "constraint events.events_event_id_key",
        "not there",
    ),
    "DROP TABLE ledger.tracking": ("table ledger.tracking", "not there"),
    """ALTER TABLE ledger.identity DISABLE TRIGGER immutable; UPDATE ledger.identity SET tenant_id = 'other';
       ALTER TABLE ledger.identity ENABLE ALWAYS TRIGGER immutable""": ("identity", "'other'"),
    """ALTER TABLE ledger.events DISABLE TRIGGER immutable; DELETE FROM ledger.events WHERE position = 2;
       ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable""": ("head", "last event at 1"),
    "UPDATE ledger.head SET position = 7": ("head", "head is at position 7"),
    'ALTER DATABASE "{database}" SET synchronous_commit = off': ("setting synchronous_commit", "is off"),
    'ALTER DATABASE "{database}" SET session_replication_role = replica': (
        "setting session_replication_role",
        "is replica",
    ),
    "UPDATE ledger.alembic_version SET version_num = '0003'": ("schema revision", "0003"),
}


def _named(tenant: Tenant, text: str) -> str:
    database = tenant.database
    roles = {role.value: database.role(role) for role in Role}
    return text.format(database=database.name, **roles)


async def _disarm(ledger: Ledger, tenant: Tenant, statements: str) -> None:
    connection = await ledger.server.connect(tenant.database.name)
    try:
        await connection.execute(_named(tenant, statements))
    finally:
        await connection.close()


@pytest.fixture
async def tenant(tenant: Tenant) -> Tenant:
    cancelled = Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id="r")
    await tenant.emitter.emit_many([cancelled, cancelled.model_copy(update={"event_id": _other(cancelled)})])
    return tenant


def _other(event: Event) -> object:
    return type(event.event_id)(int=event.event_id.int ^ 1)


async def test_nothing_is_found_where_nothing_is_wrong(ledger: Ledger, tenant: Tenant) -> None:
    await tenant.erase_payload(1, by="ann", reason="why")
    assert await inspect_tenant(tenant.database) == []
    assert await inspect_server(ledger.server) == []


@pytest.mark.parametrize("done", DISARMED)
async def test_a_guard_that_was_disarmed_is_named_and_left_alone(
    ledger: Ledger, tenant: Tenant, done: str
) -> None:
    guard, word = (_named(tenant, text) for text in DISARMED[done])
    await _disarm(ledger, tenant, done)

    findings = await inspect_tenant(tenant.database)

    of_it = [finding for finding in findings if finding.guard == guard]
    assert any(word in finding.problem for finding in of_it), findings
    assert all(finding.fix and finding.tenant_id == tenant.tenant_id for finding in findings)
    assert await inspect_tenant(tenant.database) == findings  # looking has changed nothing


@pytest.mark.parametrize(
    "done",
    [
        "ALTER TABLE ledger.events DISABLE TRIGGER immutable",
        "DROP TRIGGER immutable ON ledger.events",
        "DROP TRIGGER erasure_recorded ON ledger.events",
        'GRANT UPDATE ON ledger.events TO "{writer}"',
        'GRANT SELECT ON ledger.events TO "{reader}" WITH GRANT OPTION',
        'GRANT UPDATE (payload) ON ledger.events TO "{projector}"',
        'REVOKE EXECUTE ON FUNCTION ledger.append_event_v1 FROM "{writer}"',
        "ALTER FUNCTION ledger.append_event_v1 SET search_path = public, pg_catalog",
        "ALTER FUNCTION ledger.append_event_v1 SECURITY INVOKER",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        'GRANT TEMP ON DATABASE "{database}" TO "{reader}"',
        'GRANT "{owner}" TO "{writer}"',
        'ALTER ROLE "{writer}" SUPERUSER',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" GRANT EXECUTE ON FUNCTIONS TO PUBLIC',
        'ALTER TABLE ledger.head OWNER TO "{writer}"',
    ],
)
async def test_what_the_doctor_says_to_do_helps(ledger: Ledger, tenant: Tenant, done: str) -> None:
    await _disarm(ledger, tenant, done)
    findings = await inspect_tenant(tenant.database)
    assert findings
    for finding in findings:
        await _disarm(ledger, tenant, finding.fix)
    assert await inspect_tenant(tenant.database) == []


def test_settings_that_do_not_keep_what_is_acknowledged_are_named() -> None:
    good = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
    }

    def of(**changed: str) -> list[str]:
        return [finding.guard for finding in guards._of_server({**good, **changed}, 0.0)]

    assert of() == []
    assert of(fsync="off") == ["setting fsync"]
    assert of(full_page_writes="off") == ["setting full_page_writes"]
    assert of(synchronous_commit="local") == ["setting synchronous_commit"]
    [clock] = guards._of_server(good, -7.5)
    assert clock == Finding("clock", clock.problem, clock.fix)
    assert "-7.5 s" in clock.problem


def test_every_function_with_its_owners_rights_has_its_search_path_pinned() -> None:
    made = routines()
    for name, routine in made.items():
        commits = name.startswith("append_contended_")  # which a routine with a SET cannot do
        if routine.body is not None and not commits:
            [path] = [setting for setting in routine.settings if setting.startswith("search_path=")]
            assert path.startswith("search_path=pg_catalog, "), name
            assert path.endswith("pg_temp"), name
    assert made.keys() >= EXECUTORS.keys()


async def test_the_command_says_what_is_wrong_and_exits_with_1(
    ledger: Ledger, tenant: Tenant, daicho: CommandLine
) -> None:
    code, output = await daicho("doctor", "-t", tenant.tenant_id)
    assert (code, "every guard is up" in output) == (0, True)

    await _disarm(ledger, tenant, "ALTER TABLE ledger.events DISABLE TRIGGER immutable")

    code, output = await daicho("doctor", "-t", tenant.tenant_id)
    assert code == 1
    assert "trigger events.immutable: is disabled" in output
    assert "ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable" in output
    assert "Nothing was changed" in output
    code, output = await daicho("doctor", "-t", tenant.tenant_id, "--json")
    report = json.loads(output)
    assert (code, report["ok"], report["tenants"]) == (1, False, [tenant.tenant_id])
    assert [finding["guard"] for finding in report["findings"]] == ["trigger events.immutable"]


async def test_where_the_identity_is_anothers_every_guard_is_looked_at(
    ledger: Ledger, tenant: Tenant, daicho: CommandLine
) -> None:
    statements = "DROP TRIGGER immutable ON ledger.identity; UPDATE ledger.identity SET tenant_id = 'other'"
    await _disarm(ledger, tenant, statements)
    code, output = await daicho("doctor", "-t", tenant.tenant_id, "--json")
    assert code == 1
    found = json.loads(output)["findings"]
    assert {finding["guard"] for finding in found} == {"identity", "trigger identity.immutable"}


async def test_without_a_tenant_all_are_looked_at(
    daicho: CommandLine, ledger: Ledger, tenant: Tenant
) -> None:
    other = f"{tenant.tenant_id}-gone"
    database = await ledger.tenants.create_tenant_db(other, "Gone")
    connection = await ledger.server.connect()
    await connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
    code, output = await daicho("doctor", "--json")
    await connection.execute("DELETE FROM control.tenants WHERE tenant_id = $1", other)
    await connection.close()
    report = json.loads(output)
    assert code == 1
    assert {tenant.tenant_id, other} <= set(report["tenants"])
    assert [f["guard"] for f in report["findings"] if f["tenant_id"] == other] == ["database"]
    assert [f for f in report["findings"] if f["tenant_id"] == tenant.tenant_id] == []


async def test_an_unknown_tenant_is_wrong_usage(daicho: CommandLine, ledger: Ledger) -> None:
    code, output = await daicho("doctor", "-t", "nobody")
    assert code == 2
    assert "There is no tenant 'nobody'" in output

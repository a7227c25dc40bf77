"""What is recorded stays: the database itself refuses, whoever asks; each role may do its own work only."""

import asyncpg
import pytest

from ledger import Event, Ledger, Tenant
from ledger.errors import StoreError, TenantMismatch
from ledger.store.append import append_arguments, encode_group
from ledger.store.server import Connection
from ledger.store.tenant_database import Role

APPEND = "SELECT * FROM ledger.append_events_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"
CHANGES = {
    "update of events": "UPDATE ledger.events SET payload = '\\x7b7d'",
    "erasing by hand": "UPDATE ledger.events SET payload = NULL, salt = NULL",
    "delete of events": "DELETE FROM ledger.events",
    "truncate of events": "TRUNCATE ledger.events",
    "truncate of all": "TRUNCATE ledger.events, ledger.head CASCADE",
    "head going back": "UPDATE ledger.head SET position = position - 1",
    "time going back": "UPDATE ledger.head SET recorded_at = recorded_at - interval '1 s'",
    "delete of head": "DELETE FROM ledger.head",
    "truncate of head": "TRUNCATE ledger.head",
    "update of identity": "UPDATE ledger.identity SET tenant_id = 'other'",
    "delete of identity": "DELETE FROM ledger.identity",
    "truncate of identity": "TRUNCATE ledger.identity",
}


def fact(tenant: Tenant) -> Event:
    return Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id="r")


async def connect(ledger: Ledger, tenant: Tenant, who: str, **settings: str) -> Connection:
    if who == "superuser":
        return await ledger.server.connect(tenant.database.name, **settings)
    return await tenant.database.connect(Role(who), **settings)


@pytest.mark.parametrize("who", ["owner", "writer", "projector", "reader", "superuser"])
async def test_no_role_changes_what_is_recorded(ledger: Ledger, tenant: Tenant, who: str) -> None:
    await tenant.emitter.emit(fact(tenant))
    before = await tenant.store.read()
    connection = await connect(ledger, tenant, who)
    for name, change in CHANGES.items():
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            pytest.fail(f"{name}: {await connection.execute(change)}")
    await connection.close()
    assert await tenant.store.read() == before


async def test_a_superuser_in_replica_mode_is_refused_too(ledger: Ledger, tenant: Tenant) -> None:
    """Ordinary triggers do not fire then; these are ENABLE ALWAYS."""
    await tenant.emitter.emit(fact(tenant))
    connection = await connect(ledger, tenant, "superuser", session_replication_role="replica")
    assert await connection.fetchval("SHOW session_replication_role") == "replica"
    for change in CHANGES.values():
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"append-only|only advances"):
            await connection.execute(change)
    await connection.close()


async def test_every_guard_is_enabled_always(ledger: Ledger, tenant: Tenant) -> None:
    connection = await connect(ledger, tenant, "superuser")
    guards = await connection.fetch(
        "SELECT c.relname, g.tgname, g.tgenabled FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid "
        "WHERE c.relnamespace = 'ledger'::regnamespace AND NOT g.tgisinternal"
    )
    await connection.close()
    assert {(row["relname"], row["tgname"]) for row in guards} >= {
        *(("events", "immutable"), ("events", "not_truncated")),
        *(("head", "immutable"), ("head", "not_truncated"), ("head", "only_advances")),
        *(("identity", "immutable"), ("identity", "not_truncated")),
    }
    assert {row["tgenabled"] for row in guards} == {b"A"}


async def test_the_writer_may_execute_the_append_function_and_nothing_else(tenant: Tenant) -> None:
    writer = await tenant.database.connect(Role.WRITER)
    executable = await writer.fetch(
        "SELECT p.proname, p.prokind, p.prosecdef, p.proconfig "
        "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE n.nspname IN ('ledger', 'projection', 'public') "
        "AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')"
    )
    assert "append_events_v1" in {row["proname"] for row in executable}
    for row in executable:  # each adds rows and nothing else; a fence says nothing of what happened
        assert row["proname"].startswith(("append_", "insert_", "lift_fence_"))
        assert "one_by_one" not in row["proname"]
        if row["prokind"] == b"p":
            assert not row["prosecdef"]  # a procedure that commits works with the writer's own rights
        else:
            assert row["prosecdef"], row["proname"]
            assert any(setting.startswith("search_path=pg_catalog") for setting in row["proconfig"])
    for forbidden in (
        "SELECT payload FROM ledger.events",
        "SELECT position FROM ledger.head",
        "INSERT INTO ledger.events SELECT * FROM ledger.events",
        "INSERT INTO ledger.head VALUES (true, 7, now())",
        "SELECT * FROM projection.runs",
        "CREATE TABLE ledger.mine (a int)",
        "CREATE TABLE public.mine (a int)",
        "CREATE TEMP TABLE mine (a int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE ledger.events DISABLE TRIGGER ALL",
        "DROP TABLE ledger.events",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            pytest.fail(f"{forbidden}: {await writer.execute(forbidden)}")
    await writer.fetchrow(APPEND, *append_arguments([encode_group([fact(tenant)])]))
    await writer.close()
    assert await tenant.store.head() == 1


async def test_the_reader_and_the_projector_read_and_do_not_append(tenant: Tenant) -> None:
    await tenant.emitter.emit(fact(tenant))
    for role in (Role.READER, Role.PROJECTOR):
        connection = await tenant.database.connect(role)
        assert await connection.fetchval("SELECT count(*) FROM ledger.events") == 1
        for forbidden in ("DROP TABLE ledger.events", "INSERT INTO ledger.head VALUES (true, 7, now())"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchrow(APPEND, *append_arguments([encode_group([fact(tenant)])]))
        await connection.close()
    reader = await tenant.database.connect(Role.READER)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.execute("DELETE FROM projection.runs")
    await reader.close()


async def test_a_tenants_roles_may_log_in_and_no_more_and_its_owner_not_even_that(
    ledger: Ledger, tenant: Tenant
) -> None:
    connection = await ledger.server.connect()
    roles = await connection.fetch(
        "SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb "
        "FROM pg_roles WHERE rolname LIKE $1",
        f"{tenant.database.name}%",
    )
    await connection.close()
    assert {row["rolname"] for row in roles} == {tenant.database.role(role) for role in Role}
    assert not any(flag for row in roles for flag in list(row)[2:])
    assert [row["rolname"] for row in roles if not row["rolcanlogin"]] == [tenant.database.role(Role.OWNER)]


async def test_a_catalogue_that_points_at_another_tenants_database_is_caught_on_connect(
    ledger: Ledger, tenant: Tenant
) -> None:
    other_id = f"{tenant.tenant_id}-other"
    other_database = await ledger.tenants.create_tenant_db(other_id, "Other")
    connection = await ledger.server.connect()
    swap = "UPDATE control.tenants SET database_name = $2 WHERE tenant_id = $1"
    await connection.execute(swap, tenant.tenant_id, "t_" + "0" * 31 + "1")
    await connection.execute(swap, other_id, tenant.database.name)

    with pytest.raises(TenantMismatch, match="Nothing was read or written") as mismatch:
        await ledger.tenant(other_id)
    with pytest.raises(TenantMismatch):
        async with await ledger.tenants.get_connection(other_id) as session:
            await session.connection()

    assert repr(tenant.tenant_id) in str(mismatch.value)
    assert await tenant.store.head() == 0
    await connection.execute(swap, other_id, other_database)
    await connection.execute(swap, tenant.tenant_id, tenant.database.name)
    await connection.close()


async def test_a_database_without_an_identity_is_not_worked_in(ledger: Ledger, tenant: Tenant) -> None:
    connection = await ledger.server.connect(tenant.database.name)
    await connection.execute("ALTER TABLE ledger.identity DISABLE TRIGGER ALL; DELETE FROM ledger.identity")
    await connection.close()
    with pytest.raises((StoreError, TenantMismatch)):
        await tenant.store.append([fact(tenant)])

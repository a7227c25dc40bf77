"""Who may do what in a tenant's database: every role, every verb, tried in the database itself.

All but the owner are logins of this one database. That no login enters a neighbour's is tried in
tests/control/test_servers.py.
"""

import re
from uuid import uuid4

import asyncpg
import pytest

from ledger import Event, Ledger, Tenant
from ledger.control.guards_expected import EXECUTORS, routines
from ledger.store.server import Connection
from ledger.store.tenant_database import Role

# yes: done. -: the role lacks the right. guard: it has the right, and a trigger refuses.
# `nobody` is a role without any grant: what it may do, PUBLIC may.
MATRIX = """
                                  owner   writer  projector  reader  eraser  collector  nobody  superuser
SELECT events                     yes     -       yes        yes     -       -          -       yes
SELECT head                       yes     -       yes        yes     -       -          -       yes
SELECT identity                   yes     yes     yes        yes     yes     yes        -       yes
SELECT snapshots                  yes     -       -          yes     -       -          -       yes
SELECT tracking                   yes     -       -          yes     -       -          -       yes
SELECT blob_fences                yes     -       -          yes     -       -          -       yes
SELECT runs                       yes     -       yes        yes     -       -          -       yes
INSERT events                     yes     -       -          -       -       -          -       yes
INSERT head                       only    -       -          -       -       -          -       only
INSERT identity                   only    -       -          -       -       -          -       only
INSERT runs                       yes     -       yes        -       -       -          -       yes
UPDATE events                     guard   -       -          -       -       -          -       guard
UPDATE events to erase            guard   -       -          -       -       -          -       guard
UPDATE head back                  guard   -       -          -       -       -          -       guard
UPDATE identity                   guard   -       -          -       -       -          -       guard
UPDATE runs                       yes     -       yes        -       -       -          -       yes
DELETE events                     guard   -       -          -       -       -          -       guard
DELETE head                       guard   -       -          -       -       -          -       guard
DELETE identity                   guard   -       -          -       -       -          -       guard
DELETE runs                       yes     -       yes        -       -       -          -       yes
TRUNCATE events                   guard   -       -          -       -       -          -       guard
TRUNCATE head                     guard   -       -          -       -       -          -       guard
TRUNCATE identity                 guard   -       -          -       -       -          -       guard
TRUNCATE runs                     yes     -       yes        -       -       -          -       yes
LOCK events                       yes     -       -          -       -       -          -       yes
EXECUTE append_event_v1           yes     yes     -          -       -       -          -       yes
EXECUTE append_events_v1          yes     yes     -          -       -       -          -       yes
EXECUTE append_contended_v1       yes     yes     -          -       -       -          -       yes
EXECUTE append_events_v2          yes     yes     -          -       -       -          -       yes
EXECUTE append_contended_v2       yes     yes     -          -       -       -          -       yes
EXECUTE append_events_v3          yes     yes     -          -       -       -          -       yes
EXECUTE append_contended_v3       yes     yes     -          -       -       -          -       yes
EXECUTE append_stored_events_v1   yes     yes     -          -       -       -          -       yes
EXECUTE insert_tracking_v1        yes     yes     -          -       -       -          -       yes
EXECUTE insert_snapshots_v1       yes     yes     -          -       -       -          -       yes
EXECUTE flushed_v1                yes     -       yes        yes     -       -          -       yes
EXECUTE erase_payload_v1          yes     -       -          -       yes     -          -       yes
EXECUTE condemn_blobs_v1          yes     -       -          -       -       yes        -       yes
EXECUTE blobs_deleted_v1          yes     -       -          -       -       yes        -       yes
EXECUTE take_over_fences_v1       yes     -       -          -       -       yes        -       yes
EXECUTE lift_fence_v1             yes     yes     -          -       -       -          -       yes
EXECUTE append_one_by_one_v1      yes     -       -          -       -       -          -       yes
EXECUTE payload_commitment_v1     yes     -       -          -       -       -          -       yes
EXECUTE erasure_id_v1             yes     -       -          -       -       -          -       yes
EXECUTE is_own_type_v1            yes     -       -          -       -       -          -       yes
EXECUTE refuse_change_v1          yes     -       -          -       -       -          -       yes
EXECUTE head_only_advances_v1     yes     -       -          -       -       -          -       yes
EXECUTE only_erasure_v1           yes     -       -          -       -       -          -       yes
EXECUTE erasure_recorded_v1       yes     -       -          -       -       -          -       yes
EXECUTE refuse_fenced_v1          yes     -       -          -       -       -          -       yes
CREATE in ledger                  yes     -       -          -       -       -          -       yes
CREATE in projection              yes     -       yes        -       -       -          -       yes
CREATE in public                  yes     -       -          -       -       -          -       yes
CREATE schema                     yes     -       -          -       -       -          -       yes
CREATE TEMP                       yes     -       -          -       -       -          -       yes
CREATE TRIGGER on events          yes     -       -          -       -       -          -       yes
DISABLE TRIGGER on events         yes     -       -          -       -       -          -       yes
DROP events                       yes     -       -          -       -       -          -       yes
DROP TRIGGER on events            yes     -       -          -       -       -          -       yes
DROP runs                         yes     -       yes        -       -       -          -       yes
REPLACE FUNCTION                  yes     -       -          -       -       -          -       yes
ALTER events                      yes     -       -          -       -       -          -       yes
CREATE ROLE                       -       -       -          -       -       -          -       yes
SET replication role              -       -       -          -       -       -          -       yes
"""
# What the owner and a superuser may do to the guards themselves no guard can refuse. Nobody works in
# those roles but a migration, and `daicho doctor` tells what is missing afterwards.

NOBODY = f"daicho_test_nobody_{uuid4().hex}"  # roles are of the whole server

STATEMENTS = {
    **{f"SELECT {table}": f"SELECT * FROM ledger.{table}" for table in (
        "events", "head", "identity", "snapshots", "tracking", "blob_fences")},
    **{f"DELETE {table}": f"DELETE FROM ledger.{table}" for table in ("events", "head", "identity")},
    **{f"TRUNCATE {table}": f"TRUNCATE ledger.{table} CASCADE" for table in ("events", "head", "identity")},
    "SELECT runs": "SELECT * FROM projection.runs",
    "INSERT events": "INSERT INTO ledger.events VALUES (9, 1, now(), now(), gen_random_uuid(), 1, 1, 's', "
    "'t', NULL, NULL, NULL, '', substr(sha256(''), 1, 16), sha256(''))",
    "INSERT head": "INSERT INTO ledger.head VALUES (true, 9, now())",
    "INSERT identity": "INSERT INTO ledger.identity VALUES (true, 'other')",
    "INSERT runs": "INSERT INTO projection.runs SELECT (jsonb_populate_record(r, '{\"run_id\": \"x\"}')).* "
    "FROM projection.runs AS r",
    "UPDATE events": "UPDATE ledger.events SET actor = 'mallory'",
    "UPDATE events to erase": "UPDATE ledger.events SET payload = NULL, salt = NULL",
    "UPDATE head back": "UPDATE ledger.head SET position = 0",
    "UPDATE identity": "UPDATE ledger.identity SET tenant_id = 'other'",
    "UPDATE runs": "UPDATE projection.runs SET status = 'failed'",
    "DELETE runs": "DELETE FROM projection.runs",
    "TRUNCATE runs": "TRUNCATE projection.runs",
    "LOCK events": "LOCK TABLE ledger.events IN ACCESS EXCLUSIVE MODE",
    "ALTER events": "ALTER TABLE ledger.events ALTER payload DROP NOT NULL, ADD COLUMN mine int",
    "CREATE in ledger": "CREATE TABLE ledger.mine (a int)",
    "CREATE in projection": "CREATE TABLE projection.mine (a int)",
    "CREATE in public": "CREATE TABLE public.mine (a int)",
    "CREATE schema": "CREATE SCHEMA mine",
    "CREATE TEMP": "CREATE TEMP TABLE mine (a int)",
    "CREATE TRIGGER on events": "CREATE TRIGGER mine BEFORE INSERT ON ledger.events FOR EACH ROW "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "DISABLE TRIGGER on events": "ALTER TABLE ledger.events DISABLE TRIGGER immutable",
    "DROP events": "DROP TABLE ledger.events CASCADE",
    "DROP TRIGGER on events": "DROP TRIGGER immutable ON ledger.events",
    "DROP runs": "DROP TABLE projection.runs",
    "REPLACE FUNCTION": "CREATE OR REPLACE FUNCTION ledger.only_erasure_v1() RETURNS trigger "
    "LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE ROLE": f"CREATE ROLE {NOBODY}_else",
    "SET replication role": "SET LOCAL session_replication_role = replica",
}  # fmt: skip


def expected() -> dict[str, dict[str, str]]:
    """Verb -> role -> what becomes of it."""
    roles, *rows = (line for line in MATRIX.splitlines() if line.strip())
    split = [re.split(r"\s{2,}", row.strip()) for row in rows]
    return {verb: dict(zip(roles.split(), outcomes, strict=True)) for verb, *outcomes in split}


async def outcome(connection: Connection, role: str | None, statement: str) -> str:
    """What becomes of `statement` in `role`; nothing of it stays."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        if role is not None:
            await connection.execute(f'SET LOCAL ROLE "{role}"')
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as error:
        return "guard" if re.search("append-only|only advances", str(error)) else "-"
    except asyncpg.UniqueViolationError:
        return "only"  # the one row is there
    except asyncpg.PostgresError as error:
        # A function that was entered and could not work with what it was given.
        if not statement.startswith(("SELECT ledger.", "CALL ledger.")):
            return str(error)
    finally:
        await transaction.rollback()
    return "yes"


async def calls(connection: Connection) -> dict[str, str]:
    """A call of each function in the schema, with nothing but NULLs."""
    rows = await connection.fetch(
        "SELECT p.proname, p.prokind::text AS kind, array(SELECT format_type(t, NULL) || '' FROM unnest("
        "coalesce(CASE WHEN p.prokind = 'p' THEN p.proallargtypes END, p.proargtypes::oid[])) AS t) AS types "
        "FROM pg_proc p WHERE p.pronamespace = 'ledger'::regnamespace"
    )
    return {
        f"EXECUTE {row['proname']}": f"{'CALL' if row['kind'] == 'p' else 'SELECT'} ledger.{row['proname']}"
        f"({', '.join(f'NULL::{kind}' for kind in row['types'])})"
        for row in rows
    }


async def test_every_role_may_do_what_the_matrix_says_and_nothing_else(
    ledger: Ledger, tenant: Tenant
) -> None:
    recorded = await tenant.emitter.emit(
        Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id="r")
    )
    await tenant.wait_projected(recorded.position)
    connection = await ledger.server.connect(tenant.database.name)
    await connection.execute("SET lock_timeout = '10s'")
    statements = {**STATEMENTS, **await calls(connection)}
    matrix = expected()
    assert matrix.keys() == statements.keys()
    roles: dict[str, str | None] = {role.value: tenant.database.role(role) for role in Role}
    roles |= {"nobody": NOBODY, "superuser": None}
    await connection.execute(f"CREATE ROLE {NOBODY}")
    try:
        found = {
            verb: {name: await outcome(connection, role, statement) for name, role in roles.items()}
            for verb, statement in statements.items()
        }
    finally:
        await connection.execute(f"DROP ROLE {NOBODY}")
        await connection.close()
    differing = {verb: outcomes for verb, outcomes in found.items() if outcomes != matrix[verb]}
    assert differing == {}


def test_the_matrix_and_what_the_doctor_expects_are_one() -> None:
    matrix = expected()
    for name in routines():
        allowed = {Role(role) for role, found in matrix[f"EXECUTE {name}"].items() if found == "yes"
                   and role not in {"superuser", "owner"}}  # fmt: skip
        assert allowed == EXECUTORS.get(name, frozenset()), name


@pytest.mark.parametrize("right", ["CONNECT", "TEMP", "CREATE"])
async def test_public_and_the_neighbours_roles_have_nothing_on_a_tenants_database(
    ledger: Ledger, tenant: Tenant, right: str
) -> None:
    """What a login of one tenant alone would meet; CONNECT is asked of the user who logs in."""
    neighbour_id = f"{tenant.tenant_id}-n"
    neighbour = await ledger.tenants.create_tenant_db(neighbour_id, "Neighbour")
    connection = await ledger.server.connect(tenant.database.name)
    has = "SELECT has_database_privilege($1, $2, $3)"
    for role in Role:
        assert not await connection.fetchval(has, f"{neighbour}_{role}", tenant.database.name, right)
        own = await connection.fetchval(has, tenant.database.role(role), tenant.database.name, right)
        assert own == (right == "CONNECT" or role is Role.OWNER)
    public = await connection.fetchval(
        "SELECT count(*) FROM pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) a "
        "WHERE d.datname = $1 AND a.grantee = 0",
        tenant.database.name,
    )
    assert public == 0
    await connection.close()


async def test_a_function_that_a_later_migration_makes_is_nobodys(tenant: Tenant) -> None:
    """Default privileges: a migration that forgets to revoke has forgotten nothing."""
    for role, schema in ((Role.OWNER, "ledger"), (Role.PROJECTOR, "projection")):
        connection = await tenant.database.connect(role)
        await connection.execute(f"CREATE FUNCTION {schema}.later() RETURNS int LANGUAGE sql RETURN 1")
        await connection.close()
        reader = await tenant.database.connect(Role.READER)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for function"):
            await reader.execute(f"SELECT {schema}.later()")
        await reader.close()

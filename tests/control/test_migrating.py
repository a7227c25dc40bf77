"""Migrating all tenants: side by side, stopped or gone on, resumed; code one revision ahead of a tenant."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.engine import Connection as SqlConnection

from ledger import Event, Ledger, Settings, Tenant
from ledger.control.catalogue import Catalogue
from ledger.control.guards import inspect_tenant
from ledger.control.migrating import Migration
from ledger.control.migrations import (
    History,
    _config,
    _revisions,
    head_revision,
    owner_engine,
    tenant_revision,
    upgrade_tenant,
)
from ledger.control.roles import ensure_roles
from ledger.control.template import template_name
from ledger.errors import MigrationNeeded
from ledger.store.server import Connection, DatabaseServer
from ledger.store.tenant_database import Role, TenantDatabase
from projections import verify
from tests.faults.own_server import folder_of_its_own
from tests.support.command_line import CommandLine
from tests.support.events import assert_gapless, everything, fact

HEAD = head_revision("tenant")
BEFORE, OLDER = _revisions("tenant")[1:3]


async def move(engine: Any, history: History, direction: str, to: str) -> None:
    def run(connection: SqlConnection) -> None:
        config = _config(history)
        config.attributes["connection"] = connection
        getattr(command, direction)(config, to)

    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


@pytest.fixture
async def own_ledger() -> AsyncIterator[Ledger]:
    with folder_of_its_own() as folder:
        async with await Ledger.open(Settings(home=folder / "home", projection="external")) as opened:
            yield opened


async def set_revision(ledger: Ledger, tenant_id: str, revision: str) -> None:
    [record] = [r for r in await ledger.tenants.list() if r.tenant_id == tenant_id]
    connection = await ledger.server.connect(record.database_name)
    await connection.execute("UPDATE ledger.alembic_version SET version_num = $1", revision)
    await connection.close()


async def revisions(ledger: Ledger) -> dict[str, str | None]:
    return {
        record.tenant_id: await tenant_revision(await ledger.tenants.servers.database(record))
        for record in await ledger.tenants.list()
    }


async def test_a_failing_tenant_stops_it_or_not_and_run_again_it_goes_on(own_ledger: Ledger) -> None:
    for name in "abcdef":
        await own_ledger.tenants.create_tenant_db(name, name)
        [record] = [r for r in await own_ledger.tenants.list() if r.tenant_id == name]
        database = await own_ledger.tenants.servers.database(record)
        await move(owner_engine(database), "tenant", "downgrade", OLDER)
    await set_revision(own_ledger, "c", "9999")

    async with Catalogue.open(own_ledger.server) as catalogue:
        migration = await Migration.of(own_ledger.tenants.servers, catalogue)
        stopped = [done async for done in migration.run(parallel=1)]
        assert [(done.tenant_id, done.error is None) for done in stopped] == [
            ("a", True),
            ("b", True),
            ("c", False),
        ]
        assert isinstance(stopped[2].error, MigrationNeeded)  # newer than the code
        found = await revisions(own_ledger)
        assert found == {"a": HEAD, "b": HEAD, "c": "9999", "d": OLDER, "e": OLDER, "f": OLDER}

        all_ = [done async for done in migration.run(parallel=3, keep_going=True)]
        assert {done.tenant_id for done in all_ if done.error} == {"c"}
        assert set((await revisions(own_ledger)).values()) == {HEAD, "9999"}

    daicho = CommandLine(own_ledger.settings.home)
    code, output = await daicho("migrate", "--keep-going")
    assert (code, "5 of 6 tenants migrated, 1 failed" in output) == (2, True)
    assert "Install the daicho that migrated it" in output
    await set_revision(own_ledger, "c", OLDER)
    done = await daicho.result("migrate", "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.exit_code, {row["tenant_id"] for row in told}) == (0, set("abcdef"))
    recorded = {record.tenant_id: record.schema_revision for record in await own_ledger.tenants.list()}
    assert set(recorded.values()) == {HEAD}

    superuser = await own_ledger.server.connect()
    templates = await superuser.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'daicho%template%'")
    assert [row["datname"] for row in templates] == [template_name()]
    await superuser.close()


async def test_this_code_works_with_a_tenant_of_the_revision_before(
    ledger: Ledger, tenant: Tenant, settings: Settings
) -> None:
    await move(owner_engine(tenant.database), "tenant", "downgrade", BEFORE)
    async with await Ledger.open(settings) as elsewhere:
        opened = await elsewhere.tenant(tenant.tenant_id)
        async with opened.run("r", prompt_pack="mock_pack") as run, run.step("draft") as step:
            ref = await step.put(b"{}", "output.json")
        head = await opened.store.head()
        await opened.wait_projected(head)
        assert (await verify(opened)).ok
        assert await opened.artifacts.get(ref) == b"{}"
        await opened.erase_payload(1, by="ann", reason="why")
        async with await elsewhere.tenants.get_connection(tenant.tenant_id) as session:
            found = await session.execute(text("SELECT status FROM projection.runs"))
            assert found.scalar_one() == "succeeded"


async def test_many_emit_to_a_tenant_of_the_revision_before_from_two_processes(
    ledger: Ledger, tenant: Tenant, settings: Settings
) -> None:
    await move(owner_engine(tenant.database), "tenant", "downgrade", BEFORE)
    async with await Ledger.open(settings) as one, await Ledger.open(settings) as other:
        ours, theirs = await one.tenant(tenant.tenant_id), await other.tenant(tenant.tenant_id)
        await asyncio.gather(
            *(each.emitter.emit(fact(each, f"r{n % 7}")) for n in range(150) for each in (ours, theirs))
        )
        events = await everything(ours)
    assert len(events) == 300
    assert_gapless(events)


async def test_two_revisions_behind_or_newer_a_tenant_is_refused(ledger: Ledger, tenant: Tenant) -> None:
    await move(owner_engine(tenant.database), "tenant", "downgrade", OLDER)
    with pytest.raises(MigrationNeeded, match=rf"{HEAD}.*{OLDER}.*daicho migrate"):
        await ledger.tenant(tenant.tenant_id)
    await ledger.tenants.migrate(tenant.tenant_id)
    await ledger.tenant(tenant.tenant_id)
    await set_revision(ledger, tenant.tenant_id, "9999")
    for way in (ledger.tenant, ledger.tenants.migrate):
        with pytest.raises(MigrationNeeded, match="Install the daicho that migrated it"):
            await way(tenant.tenant_id)


async def test_a_tenant_made_before_there_were_logins_gets_them(ledger: Ledger, tenant: Tenant) -> None:
    await move(owner_engine(tenant.database), "tenant", "downgrade", "0006")
    superuser = await ledger.server.connect()
    for role in Role:
        await superuser.execute(f'ALTER ROLE "{tenant.database.role(role)}" NOLOGIN')
    await superuser.close()
    await ledger.server.connections.close_idle(tenant.database.name)
    with pytest.raises(MigrationNeeded, match="daicho migrate"):
        await ledger.tenant(tenant.tenant_id)
    await ledger.tenants.migrate(tenant.tenant_id)
    assert await inspect_tenant(tenant.database) == []
    event = Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id="r")
    assert (await tenant.emitter.emit(event)).position == 1


# Every revision, down and up

SHAPE = """
SELECT 'column', format('%s.%s %s %s %s %s', n.nspname, c.relname, a.attname,
                        format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
  FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE n.nspname = ANY ($1::text[]) AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v', 'S')
UNION ALL
SELECT 'constraint', format('%s %s %s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
  FROM pg_constraint AS k JOIN pg_namespace AS n ON n.oid = k.connamespace WHERE n.nspname = ANY ($1::text[])
UNION ALL
SELECT 'index', pg_get_indexdef(i.indexrelid) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = ANY ($1::text[])
UNION ALL
SELECT 'routine', format('%s %s %s %s %s', p.oid::regprocedure, p.prosecdef, p.proconfig,
                         p.proowner::regrole, p.prosrc)
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname = ANY ($1::text[])
UNION ALL
SELECT 'trigger', format('%s %s', pg_get_triggerdef(g.oid), g.tgenabled) FROM pg_trigger AS g
  JOIN pg_class AS c ON c.oid = g.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY ($1::text[]) AND NOT g.tgisinternal
UNION ALL
SELECT 'grant', format('%s %s %s', o.object, a.grantee::regrole, a.privilege_type) FROM (
    SELECT nspname::text AS object, nspacl AS acl FROM pg_namespace WHERE nspname = ANY ($1::text[])
    UNION ALL
    SELECT c.oid::regclass::text,
           coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner))
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY ($1::text[]) AND relkind IN ('r', 'v', 'S')
    UNION ALL SELECT p.oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc AS p
      JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname = ANY ($1::text[])
  ) AS o CROSS JOIN aclexplode(o.acl) AS a
UNION ALL
SELECT 'default', format('%s %s %s %s %s', d.defaclrole::regrole, d.defaclnamespace::regnamespace,
                         d.defaclobjtype, a.grantee::regrole, a.privilege_type)
  FROM pg_default_acl AS d CROSS JOIN aclexplode(d.defaclacl) AS a
"""


async def shape(connection: Connection, schemas: list[str]) -> set[tuple[str, str]]:
    return {tuple(row) for row in await connection.fetch(SHAPE, schemas)}


def without_defaults(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Without what PUBLIC may by default: 0004 took EXECUTE from it, and going back from there gives it to
    nobody again."""
    return {(kind, text) for kind, text in found if not (kind == "default" and text.endswith("EXECUTE"))}


@pytest.fixture
async def bare(ledger: Ledger) -> AsyncIterator[TenantDatabase]:
    """A tenant's database with its roles, and nothing in it."""
    database = TenantDatabase("bare", f"t_{uuid4().hex}", ledger.server)
    await ensure_roles(database)
    superuser = await ledger.server.connect()
    await superuser.execute(
        f'CREATE DATABASE "{database.name}" OWNER "{database.role(Role.OWNER)}" TEMPLATE template0'
    )
    yield database
    await superuser.execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')
    await superuser.close()


async def test_every_tenant_revision_goes_down_to_what_it_came_from(bare: TenantDatabase) -> None:
    line = _revisions("tenant")[::-1]
    superuser = await bare.server.connect(bare.name)
    schemas = ["ledger", "projection"]
    shapes = {}
    for revision in line:
        await move(owner_engine(bare), "tenant", "upgrade", revision)
        shapes[revision] = await shape(superuser, schemas)
    for before in line[-2::-1]:
        await move(owner_engine(bare), "tenant", "downgrade", before)
        found = await shape(superuser, schemas)
        assert without_defaults(found) ^ without_defaults(shapes[before]) == set(), f"down to {before}"
    with pytest.raises(RuntimeError, match="drop the events"):
        await move(owner_engine(bare), "tenant", "downgrade", "base")
    await upgrade_tenant(bare)
    assert await shape(superuser, schemas) == shapes[HEAD]
    await superuser.close()


async def test_every_control_revision_goes_down_to_what_it_came_from(ledger: Ledger) -> None:
    name = f"control_{uuid4().hex[:12]}"
    superuser = await ledger.server.connect()
    await superuser.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    server = DatabaseServer(ledger.server.name, name, ledger.server.address)
    inside = await server.connect()
    shapes = {}
    for revision in _revisions("control")[::-1]:
        await move(server.engine(), "control", "upgrade", revision)
        shapes[revision] = await shape(inside, ["control"])
    for before in _revisions("control")[1:]:
        await move(server.engine(), "control", "downgrade", before)
        assert await shape(inside, ["control"]) ^ shapes[before] == set(), f"down to {before}"
    await move(server.engine(), "control", "upgrade", "head")
    await inside.execute(
        "INSERT INTO control.control_audit (actor, action, subject) VALUES ('a', 'tenant.made', 'tenant:x')"
    )
    with pytest.raises(Exception, match="would drop the audit trail"):
        await move(server.engine(), "control", "downgrade", "0001")
    await inside.close()
    await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await superuser.close()

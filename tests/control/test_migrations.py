"""Migrations: both histories run from the repository's root, and their sum is what the models say."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData
from sqlalchemy.engine import Connection

from ledger import Ledger, Settings, Tenant
from ledger.control.catalogue import Catalogue
from ledger.control.migrations import (
    History,
    _config,
    control_revision,
    head_revision,
    owner_engine,
    tenant_revision,
    upgrade_control,
    upgrade_tenant,
)
from ledger.control.tables import Base
from ledger.errors import MigrationNeeded
from ledger.store.server import DatabaseServer
from projections.tables import metadata as tenant_tables

REPOSITORY = Path(__file__).parents[2]

# What autogenerate cannot or should not compare:
# - indexes: the models describe what sessions read; indexes belong to the migrations alone;
# - the schema "ledger" of a tenant: the hot path reads it with asyncpg, no model describes it;
# - alembic's own version table.
# Server defaults and CHECK constraints it does not see by itself.


def differences(connection: Connection, metadata: MetaData, version_schema: str) -> list[Any]:
    def is_compared(_object: Any, name: str | None, kind: str, *_rest: Any) -> bool:
        return kind != "index" and name != "alembic_version"

    def is_of_the_models(name: str | None, kind: str, _parents: Any) -> bool:
        return kind != "schema" or name == metadata.schema

    context = MigrationContext.configure(
        connection,
        opts={
            "version_table_schema": version_schema,
            "include_schemas": True,
            "include_name": is_of_the_models,
            "include_object": is_compared,
            "compare_type": True,
            "target_metadata": metadata,
        },
    )
    return list(compare_metadata(context, metadata))


@pytest.fixture
async def fresh_control(ledger: Ledger) -> AsyncIterator[DatabaseServer]:
    """The same server, with an empty control database of its own."""
    name = f"control_{uuid4().hex[:12]}"
    connection = await ledger.server.connect()
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    address = ledger.server.address
    yield DatabaseServer(ledger.server.name, name, address)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def compare(engine: Any, metadata: MetaData, version_schema: str) -> list[Any]:
    try:
        async with engine.connect() as connection:
            found: list[Any] = await connection.run_sync(differences, metadata, version_schema)
            return found
    finally:
        await engine.dispose()


async def test_the_control_models_are_the_sum_of_the_control_migrations(
    fresh_control: DatabaseServer,
) -> None:
    assert await control_revision(fresh_control) is None
    await upgrade_control(fresh_control)
    assert await control_revision(fresh_control) == head_revision("control")
    assert await compare(fresh_control.engine(), Base.metadata, "control") == []


async def test_the_tenant_models_are_the_sum_of_the_tenant_migrations(tenant: Tenant) -> None:
    assert await tenant_revision(tenant.database) == head_revision("tenant")
    assert await compare(owner_engine(tenant.database), tenant_tables, "ledger") == []


async def test_the_comparison_would_see_a_difference(tenant: Tenant) -> None:
    connection = await tenant.database.server.connect(tenant.database.name)
    await connection.execute("ALTER TABLE projection.runs DROP COLUMN labels")
    await connection.execute("ALTER TABLE projection.steps ALTER COLUMN attempts TYPE text")
    await connection.close()
    found = await compare(owner_engine(tenant.database), tenant_tables, "ledger")
    assert len(found) == 2


async def test_migrating_again_changes_nothing(tenant: Tenant, fresh_control: DatabaseServer) -> None:
    await upgrade_tenant(tenant.database)
    await upgrade_control(fresh_control)
    await upgrade_control(fresh_control)
    assert await tenant_revision(tenant.database) == head_revision("tenant")


@pytest.mark.parametrize("history", ["control", "tenant"])
def test_a_history_is_one_line_of_four_digit_revisions(history: History) -> None:
    script = ScriptDirectory.from_config(_config(history))
    revisions = [revision.revision for revision in script.walk_revisions()]
    assert revisions == [f"{number:04}" for number in range(len(revisions), 0, -1)]
    assert script.get_heads() == [revisions[0]]


async def downgrade(engine: Any, history: History, to: str) -> None:
    def run(connection: Connection) -> None:
        config = _config(history)
        config.attributes["connection"] = connection
        command.downgrade(config, to)

    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


async def test_the_first_revisions_have_no_downgrade(tenant: Tenant, fresh_control: DatabaseServer) -> None:
    await upgrade_control(fresh_control)
    with pytest.raises(RuntimeError, match="drop the catalogue"):
        await downgrade(fresh_control.engine(), "control", "base")
    with pytest.raises(RuntimeError, match="drop the events"):
        await downgrade(owner_engine(tenant.database), "tenant", "base")
    assert await tenant_revision(tenant.database) == head_revision("tenant")  # whole or not at all
    assert await tenant.store.head() == 0


async def test_downgraded_and_upgraded_again_the_models_still_fit(ledger: Ledger, tenant: Tenant) -> None:
    await downgrade(owner_engine(tenant.database), "tenant", "0001")
    with pytest.raises(MigrationNeeded, match=r"revision 0001"):
        await ledger.tenants.open_for_work(tenant.tenant_id)
    await ledger.tenants.migrate(tenant.tenant_id)
    assert await compare(owner_engine(tenant.database), tenant_tables, "ledger") == []


def alembic(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DAICHO_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
async def own_ledger() -> AsyncIterator[Ledger]:
    """On a server of its own: a migration of all tenants would meet those of other tests."""
    folder = Path(tempfile.mkdtemp(prefix="daicho-alembic-"))
    folder.chmod(0o711)
    try:
        async with await Ledger.open(Settings(home=folder / "home", projection="external")) as opened:
            yield opened
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def test_alembic_from_the_repositorys_root_migrates_both_histories(own_ledger: Ledger) -> None:
    """With nothing but DAICHO_HOME set. A tenant whose making was interrupted does not stop the others."""
    home = own_ledger.settings.home
    async with Catalogue.open(own_ledger.server) as catalogue:
        await catalogue.reserve("0-interrupted", "Interrupted")
    databases = []
    for tenant_id in ("acme", "other"):
        await own_ledger.tenants.create_tenant_db(tenant_id, tenant_id)
        databases.append((await own_ledger.tenant(tenant_id)).database)
        await downgrade(owner_engine(databases[-1]), "tenant", "0001")

    alembic(home, "upgrade", "head")
    assert await control_revision(own_ledger.server) == head_revision("control")
    alembic(home, "-n", "tenant", "-x", "tenant=other", "upgrade", "head")
    assert [await tenant_revision(database) for database in databases] == ["0001", head_revision("tenant")]
    alembic(home, "-n", "tenant", "upgrade", "head")
    assert [await tenant_revision(database) for database in databases] == [head_revision("tenant")] * 2

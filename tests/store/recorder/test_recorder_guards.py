"""What the database itself refuses of an application, and what is said of erased states."""

import contextlib
from uuid import uuid4

import asyncpg
import pytest
from recorders import recording, stored

from ledger import EventType, Ledger, Tenant
from ledger.contract.names import TENANT_STREAM
from ledger.store.recorder import (
    StateErased,
)
from ledger.store.recorder.naming import OWN_TYPE
from ledger.store.tenant_database import Role

# Guards of the database


async def test_an_applications_event_is_as_immutable_as_any(ledger: Ledger, tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a")])
    connection = await ledger.server.connect(tenant.database.name)
    for statement in ("UPDATE ledger.events SET payload = ''", "DELETE FROM ledger.events"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_no_role_changes_snapshots_or_tracking_but_through_the_functions(tenant: Tenant) -> None:
    for role in (Role.WRITER, Role.READER, Role.PROJECTOR):
        connection = await tenant.database.connect(role)
        verbs = ["INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"]
        if role is not Role.READER:
            verbs.append("SELECT FROM {}")
        for verb in verbs:
            for table in ("ledger.snapshots", "ledger.tracking"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(verb.format(table))
        await connection.close()


async def test_only_the_writer_may_call_the_functions(tenant: Tenant) -> None:
    calls = [
        "append_stored_events_v1('{}','{}','{}','{}','{}','{}','a',NULL,NULL)",
        "insert_snapshots_v1('{}','{}','{}','{}')",
        "insert_tracking_v1('a','b',1)",
    ]
    for role in Role:
        connection = await tenant.database.connect(role)
        for call in calls:
            if role in {Role.WRITER, Role.OWNER}:
                with contextlib.suppress(asyncpg.UniqueViolationError):
                    await connection.execute(f"SELECT ledger.{call}")
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT ledger.{call}")
        await connection.close()


APPEND = "SELECT ledger.append_stored_events_v1($1, $2, $3, $4, $5, $6, 'Orders', NULL, NULL)"


OUT_OF_BOUNDS = [
    ("run", 1, "app:Made"),
    (TENANT_STREAM, 1, "app:Made"),
    ("$x/a", 1, "app:Made"),
    ("Bills/a", 1, "app:Made"),
    ("Orders", 1, "app:Made"),
    ("Orders/a", -1, "app:Made"),
    ("Orders/a", 1, "run.started"),
    ("Orders/a", 1, None),
    ("Orders/a", None, "app:Made"),
    (None, 1, "app:Made"),
]


async def test_the_database_itself_keeps_applications_to_their_streams_and_topics(tenant: Tenant) -> None:
    connection = await tenant.database.connect(Role.WRITER)
    for stream, version, topic in OUT_OF_BOUNDS:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(APPEND, [uuid4()], [stream], [version], [topic], [b""], [bytes(16)])
    await connection.close()
    assert await tenant.store.head() == 0


async def test_the_database_and_the_code_agree_on_what_the_ledgers_own_types_look_like(
    ledger: Ledger, tenant: Tenant
) -> None:
    topics = [
        *EventType,
        "run",
        "run.",
        "run.x",
        "run.X",
        "payload.a_b",
        "runs.a",
        "a.run.b",
        "run.a.b",
        "run.ä",
    ]
    connection = await ledger.server.connect(tenant.database.name)
    for topic in topics:
        own = await connection.fetchval("SELECT ledger.is_own_type_v1($1)", str(topic))
        assert own == bool(OWN_TYPE.fullmatch(topic)), topic
    await connection.close()


async def test_an_erased_state_is_said_to_be_erased(ledger: Ledger, tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a", 1), stored("b", 1)])
        connection = await ledger.server.connect(tenant.database.name)
        await connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER immutable")
        await connection.execute("UPDATE ledger.events SET payload = NULL, salt = NULL WHERE position = 1")
        await connection.execute("ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable")
        await connection.close()
        with pytest.raises(StateErased, match="version 1 of a"):
            recorder.select_events("a")
        assert len(recorder.select_events("b")) == 1

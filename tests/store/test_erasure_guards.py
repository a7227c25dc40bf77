"""No erasure without its record, no record without its erasure, whoever tries."""

import asyncpg
import orjson
import pytest
from erasing import BY_HAND, cancelled, superuser

from ledger import Event, EventType, Ledger, Tenant
from ledger.contract.erasure import erasure_id
from ledger.errors import InvalidEvent, StoreError
from ledger.store.append import append_arguments, encode_group
from ledger.store.tenant_database import Role

APPEND = "SELECT * FROM ledger.append_events_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"


async def test_the_database_asks_by_whom_and_why_too(tenant: Tenant) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    connection = await tenant.database.connect(Role.ERASER)
    for arguments in ((1, None, "why"), (1, "ann", None), (1, " ", "why"), (1, "ann", "")):
        with pytest.raises(asyncpg.PostgresError, match="by whom"):
            await connection.fetchrow("SELECT * FROM ledger.erase_payload_v1($1, $2, $3)", *arguments)
    await connection.close()


async def test_nobody_emits_that_something_was_erased(tenant: Tenant) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    forged = Event(
        event_type=EventType.PAYLOAD_ERASED,
        run_id="$tenant",
        tenant_id=tenant.tenant_id,
        payload={"position": 1, "by": "ann", "reason": "why"},
    )
    with pytest.raises(InvalidEvent, match=r"tenant\.erase_payload"):
        await tenant.emitter.emit(forged)
    with pytest.raises(InvalidEvent, match=r"tenant\.erase_payload"):
        await tenant.store.append([forged])
    assert await tenant.store.head() == 1


async def test_the_database_refuses_a_record_that_erased_nothing(tenant: Tenant) -> None:
    event = await tenant.emitter.emit(cancelled(tenant))
    writer = await tenant.database.connect(Role.WRITER)
    arguments = list(append_arguments([encode_group([cancelled(tenant)])]))
    payload = {"position": 1, "event_id": str(event.event_id), "by": "ann", "reason": "why"}
    arguments[1], arguments[2], arguments[3] = [erasure_id(event.event_id)], ["$tenant"], ["payload.erased"]
    arguments[10] = [orjson.dumps(payload)]
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="erased nothing"):
        await writer.fetchrow(APPEND, *arguments)
    await writer.close()
    assert await tenant.store.head() == 1
    assert (await tenant.erase_payload(1, by="ann", reason="why")).position == 2


@pytest.mark.parametrize("mode", ["origin", "replica"])
@pytest.mark.parametrize("who", ["owner", "superuser"])
async def test_no_other_change_is_let_through_by_anybody(
    ledger: Ledger, tenant: Tenant, who: str, mode: str
) -> None:
    await tenant.emitter.emit_many([cancelled(tenant, str(number)) for number in range(3)])
    await tenant.erase_payload(3, by="ann", reason="why")
    connection = await superuser(ledger, tenant)
    await connection.execute(f"SET session_replication_role = {mode}")
    if who == "owner":
        await connection.execute(f'SET ROLE "{tenant.database.role(Role.OWNER)}"')
    before = await tenant.store.read()
    for name, change in BY_HAND.items():
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            pytest.fail(f"{name}: {await connection.execute(change)}")
    # Nor behind a true erasure in the same transaction.
    behind = f"BEGIN; SELECT ledger.erase_payload_v1(1, 'ann', 'why'); {BY_HAND['a neighbour']}"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await connection.execute(behind)
    await connection.execute("ROLLBACK")
    await connection.close()
    assert await tenant.store.read() == before


async def test_a_record_of_an_earlier_transaction_opens_nothing(ledger: Ledger, tenant: Tenant) -> None:
    """With the guards down somebody puts a payload back; with the guards up again it stays where it is."""
    await tenant.emitter.emit(cancelled(tenant))
    await tenant.erase_payload(1, by="ann", reason="why")
    connection = await superuser(ledger, tenant)
    await connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER immutable")
    await connection.execute(
        "UPDATE ledger.events SET payload = '\\x7b7d', salt = sha256('')::bytea WHERE false; "
        "UPDATE ledger.events SET payload = '\\x7b7d', salt = substr(sha256(''), 1, 16) WHERE position = 1"
    )
    await connection.execute("ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await connection.execute(BY_HAND["without a record"])
    await connection.close()
    with pytest.raises(StoreError):
        await tenant.erase_payload(1, by="ann", reason="why")


async def test_only_the_eraser_may_erase(tenant: Tenant) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    for role in (Role.WRITER, Role.PROJECTOR, Role.READER):
        connection = await tenant.database.connect(role)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await connection.execute("SELECT ledger.erase_payload_v1(1, 'ann', 'why')")
        await connection.close()
    assert not (await tenant.store.read())[0].is_erased

"""Database servers: where tenants are made, by one rule; two real PostgreSQL servers at once."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from ledger import Event, Ledger, Settings
from ledger.control.audit import acts_of
from ledger.control.embedded import EmbeddedPostgres
from ledger.control.guards import inspect_tenant
from ledger.control.placement import ServerLoad, choose_server
from ledger.control.servers import server_password
from ledger.errors import (
    InvalidName,
    NoServerForTenant,
    ServerConflict,
    ServerNotFound,
    SettingsError,
    StoreError,
    StoreUnavailable,
    TenantConflict,
)
from ledger.store import server as server_module
from ledger.store.logins import scram_verifier
from ledger.store.server import server_at_url
from tests.faults.own_server import folder_of_its_own

A, B, C = ("a", True, None, 3), ("b", True, 2, 1), ("c", False, None, 0)


def loads(*rows: tuple[str, bool, int | None, int]) -> list[ServerLoad]:
    return [ServerLoad(*row) for row in rows]


def test_the_accepting_server_with_the_fewest_tenants_is_chosen() -> None:
    assert choose_server(loads(A, B, C)) == "b"
    assert choose_server(loads(A, ("b", True, 1, 1), C)) == "a"  # b is full
    assert choose_server(loads(("z", True, None, 3), A)) == "a"  # as many: by name


def test_a_named_server_is_taken_or_refused_and_no_other_is_tried() -> None:
    assert choose_server(loads(A, B, C), "a") == "a"
    with pytest.raises(NoServerForTenant, match=r"c \(0 tenants, closed to new ones\)"):
        choose_server(loads(A, B, C), "c")
    with pytest.raises(NoServerForTenant, match=r"b \(2 of 2 tenants\)"):
        choose_server(loads(A, ("b", True, 2, 2)), "b")
    with pytest.raises(ServerNotFound, match="one of a, b"):
        choose_server(loads(A, B), "elsewhere")


def test_where_all_are_closed_or_full_there_is_no_place() -> None:
    with pytest.raises(NoServerForTenant, match="daicho server add"):
        choose_server(loads(C, ("b", True, 2, 2)))


def test_a_password_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    assert server_password("eu", {}) is None
    assert server_password("eu", {"DAICHO_SERVER_EU_PASSWORD": "given"}) == "given"
    assert server_password("eu", {"DAICHO_SERVER_EU_PASSWORD_FILE": str(secret)}) == "from a file"
    with pytest.raises(SettingsError, match="cannot be read"):
        server_password("eu", {"DAICHO_SERVER_EU_PASSWORD_FILE": str(tmp_path / "none")})
    both = {"DAICHO_SERVER_EU_PASSWORD": "x", "DAICHO_SERVER_EU_PASSWORD_FILE": str(secret)}
    with pytest.raises(SettingsError, match="Both"):
        server_password("eu", both)


def test_a_verifier_is_that_of_rfc_7677() -> None:
    """The exchange of RFC 7677, section 3: user "user", password "pencil"."""
    import base64
    import hashlib
    import hmac

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = scram_verifier("pencil", salt, 4096)
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    stored, server = (base64.b64decode(part) for part in verifier.split("$")[2].split(":"))
    signature = hmac.digest(server, message, "sha256")
    assert signature == base64.b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client_signature = hmac.digest(stored, message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, client_signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored


@pytest.fixture(scope="module")
def second() -> Iterator[EmbeddedPostgres]:
    with folder_of_its_own() as folder, EmbeddedPostgres.start(folder / "home") as server:
        yield server


@pytest.fixture
def address(second: EmbeddedPostgres) -> str:
    return f"postgresql://postgres@/postgres?host={second.socket_folder}"


@pytest.fixture
async def own_ledger() -> AsyncIterator[Ledger]:
    """With a catalogue of its own: a server that is added takes everybody's tenants."""
    with folder_of_its_own() as folder:
        settings = Settings(home=folder / "home", login_key="k" * 32)
        async with await Ledger.open(settings) as opened:
            yield opened


async def databases(address: str) -> set[str]:
    server = server_at_url(address, connect_timeout_seconds=10)
    connection = await server.connect()
    try:
        rows = await connection.fetch("SELECT datname::text FROM pg_database WHERE datname ~ '^t_'")
        return {row["datname"] for row in rows}
    finally:
        await connection.close()


async def test_tenants_on_two_servers_work_at_once(own_ledger: Ledger, address: str) -> None:
    tenants, servers = own_ledger.tenants, own_ledger.tenants.servers
    await servers.add("second", address, tenants_max=2, by="ada", reason="more room")
    for number in range(5):
        await tenants.create_tenant_db(f"t{number}", f"Tenant {number}", by="ada")
    await servers.change("second", tenants_max=3)
    await tenants.create_tenant_db("named", "Named", server="second")

    placed = {record.tenant_id: record.server_name for record in await tenants.list()}
    assert sorted(placed.values()) == ["control"] * 3 + ["second"] * 3
    on_second = {r.database_name for r in await tenants.list() if r.server_name == "second"}
    assert await databases(address) >= on_second

    for tenant_id in placed:
        tenant = await own_ledger.tenant(tenant_id)
        event = Event(event_type="run.cancelled", tenant_id=tenant_id, run_id="r")
        recorded = await tenant.emitter.emit(event)
        await tenant.wait_projected(recorded.position)
        async with await tenants.get_connection(tenant_id) as session:
            found = await session.execute(text("SELECT tenant_id FROM ledger.identity"))
            assert found.scalar_one() == tenant_id
        assert await inspect_tenant(tenant.database) == []

    with pytest.raises(NoServerForTenant, match="3 of 3"):
        await tenants.create_tenant_db("one-more", "One more", server="second")
    with pytest.raises(TenantConflict, match="another server"):
        await tenants.create_tenant_db("named", "Named", server="control")
    with pytest.raises(ServerConflict, match="3 tenants"):
        await servers.remove("second")
    connection = await own_ledger.server.connect()
    acts = [act.action for act in await acts_of(connection, "server:second")]
    assert acts == ["server.changed", "server.added"]
    assert [act.actor for act in await acts_of(connection, "tenant:t1")] == ["ada", "ada"]
    await connection.close()


@pytest.mark.parametrize(
    ("name", "address", "kind"),
    [
        ("EU", "postgresql://u@h/d", InvalidName),
        ("eu'--", "postgresql://u@h/d", InvalidName),
        ("eu", "mysql://u@h/d", SettingsError),
        ("eu", "host=h user=u", SettingsError),
        ("eu", "postgresql://u:secret@h/d", SettingsError),
        ("eu", "postgresql://u@h/d?password=secret", SettingsError),
        ("eu", "postgresql://u@h/d?options=-crole%3Dx", SettingsError),
        ("eu", "postgresql://u@127.0.0.1:1/d", StoreUnavailable),
    ],
)
async def test_a_server_that_cannot_be_one_is_refused_and_no_password_is_shown(
    ledger: Ledger, name: str, address: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as refusal:
        await ledger.tenants.servers.add(name, address)
    assert "secret" not in str(refusal.value)
    assert [record.server_name for record in await ledger.tenants.servers.list()] == ["control"]


async def test_a_tenants_login_needs_its_password_and_enters_no_other_database(
    own_ledger: Ledger,
) -> None:
    """With passwords asked for, as any server does that is not embedded."""
    for name in ("one", "two"):
        await own_ledger.tenants.create_tenant_db(name, name)
    one, two = [(await own_ledger.tenant(name)).database for name in ("one", "two")]
    host = one.server.address["host"]
    superuser = await own_ledger.server.connect()
    file = Path(await superuser.fetchval("SHOW hba_file"))
    lines = f"local all postgres trust\nlocal all all scram-sha-256\n{file.read_text()}"
    file.write_text(lines)
    await superuser.execute("SELECT pg_reload_conf()")
    await own_ledger.server.connections.close_idle()

    for role in ("writer", "projector", "reader", "eraser"):
        login = f"{one.name}_{role}"
        password = own_ledger.server.logins.password(login)
        entered = await asyncpg.connect(host=host, user=login, password=password, database=one.name)
        assert await entered.fetchval("SELECT tenant_id FROM ledger.identity") == "one"
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"TEMP|temporary"):
            await entered.execute("CREATE TEMP TABLE mine (a int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await entered.execute(f'SET ROLE "{one.name}_owner"')
        await entered.close()
        for database in (two.name, own_ledger.server.database):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
                await asyncpg.connect(host=host, user=login, password=password, database=database)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(host=host, user=login, password="guess", database=one.name)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host=host, user=f"{one.name}_owner", password="x", database=one.name)
    await superuser.close()
    assert await (await own_ledger.tenant("one")).store.head() == 0  # the application still works


async def test_a_server_that_is_too_old_is_refused_whatever_is_wanted_of_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "SERVER_VERSION_MIN", 99)
    with pytest.raises(
        StoreError, match=r"too old\. Expected PostgreSQL 99 or newer\. Found 1[78]\.\d"
    ) as refused:
        await Ledger.open(settings)
    assert not isinstance(refused.value, StoreUnavailable), "waiting will not make it newer"


async def test_a_control_database_that_is_not_there_is_named_with_what_to_do(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    url = f"postgresql://postgres@/nowhere?host={postgres.socket_folder}"
    with pytest.raises(StoreError, match=r"no database 'nowhere'.*CREATE DATABASE") as refused:
        await Ledger.open(Settings(home=tmp_path, database_url=url, blobs="filesystem"))
    assert not isinstance(refused.value, StoreUnavailable)

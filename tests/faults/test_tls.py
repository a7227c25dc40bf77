"""Over TLS: what goes past asyncpg on its socket (ledger/store/wire.py) goes through its TLS all the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ledger import Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from ledger.control.embedded.layout import PORT
from ledger.errors import StoreUnavailable
from ledger.store.tenant_database import Role
from projections import rebuild, verify
from tests.faults.load import Load
from tests.faults.tls_gate import TlsGate
from tests.servers.tls import Authority
from tests.support.events import assert_gapless, everything, fact


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
def authority(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """As docs/tenancy.md says it is named."""
    made = Authority(folder)
    monkeypatch.setenv("PGSSLROOTCERT", str(made.file))
    return made


@pytest.fixture
async def gate(postgres: EmbeddedPostgres, authority: Authority) -> AsyncIterator[TlsGate]:
    socket = postgres.socket_folder / f".s.PGSQL.{PORT}"
    async with TlsGate(socket, authority.issue("localhost")) as made:
        yield made


def far(folder: Path, port: int, sslmode: str = "verify-full") -> Settings:
    return Settings(
        home=folder / "far",
        database_url=f"postgresql://postgres@localhost:{port}/daicho_control?sslmode={sslmode}",
        blobs="filesystem",
        emit_deadline_seconds=60,
    )


@asynccontextmanager
async def opened(settings: Settings, tenant: Tenant) -> AsyncIterator[Tenant]:
    async with await Ledger.open(settings) as ledger:
        yield await ledger.tenant(tenant.tenant_id)


async def test_events_of_every_size_are_recorded_and_read_over_tls(
    tenant: Tenant, gate: TlsGate, folder: Path
) -> None:
    """More at once than one record of TLS holds, in both directions; and what else works on a tenant."""
    async with opened(far(folder, gate.port), tenant) as over_tls:
        connection = await over_tls.database.connect(Role.READER)
        assert connection._transport.get_extra_info("cipher") is not None, "this is not TLS"
        await connection.close()
        sizes = (0, 1, 16_000, 16_384, 16_400, 60_000)
        events = [fact(over_tls, f"run-{n % 7}", n=n, text="x" * sizes[n % 6]) for n in range(300)]

        acknowledged = await asyncio.gather(*(over_tls.emitter.emit(event) for event in events))

        stored = await everything(tenant)
        assert_gapless(stored)
        assert sorted(acknowledged) == stored == await everything(over_tls)
        assert {event.event_id: event.payload for event in stored} == {
            event.event_id: event.payload for event in events
        }
        figures = over_tls.emitter.figures()
        assert (figures.events, figures.retries) == (300, 0)
        assert figures.commits < 300
        lone = await over_tls.emitter.emit(fact(over_tls))
        await over_tls.wait_projected(lone.position, timeout_seconds=60)
        await rebuild(over_tls)
        assert (await verify(over_tls, workers=1)).ok  # a worker is a process with a connection of its own
    assert gate.let_in >= 4


async def test_connections_cut_in_mid_load_cost_nothing_over_tls(
    tenant: Tenant, gate: TlsGate, folder: Path
) -> None:
    async with opened(far(folder, gate.port), tenant) as over_tls, Load(over_tls) as load:
        for _ in range(5):
            await load.more()
            assert await gate.cut()
        await load.more()
        stored = await load.stop_and_check()
        assert over_tls.emitter.figures().retries >= 3
    assert stored == await everything(tenant)


async def test_a_server_without_tls_gets_no_word_where_tls_is_asked_for(
    postgres: EmbeddedPostgres, folder: Path
) -> None:
    async with TlsGate(postgres.socket_folder / f".s.PGSQL.{PORT}", None) as gate:
        with pytest.raises(StoreUnavailable, match="SSL"):
            await Ledger.open(far(folder, gate.port, "require"))


@pytest.mark.parametrize("wrong", ["another authority", "another host"])
async def test_a_certificate_that_proves_nothing_is_refused(
    postgres: EmbeddedPostgres, authority: Authority, folder: Path, wrong: str
) -> None:
    if wrong == "another authority":
        context = Authority(folder, "nobody knows it").issue("localhost")
    else:
        context = authority.issue("elsewhere.example")
    async with TlsGate(postgres.socket_folder / f".s.PGSQL.{PORT}", context) as gate:
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            await Ledger.open(far(folder, gate.port))

"""Tenants for tests that run without an event loop of their own, as the library's do."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest

from ledger import Ledger, Settings
from ledger.store import recorder
from ledger.store.tenant_database import TenantDatabase


async def _made_tenant(settings: Settings) -> TenantDatabase:
    tenant_id = f"t-{uuid4().hex[:12]}"
    async with await Ledger.open(settings.model_copy(update={"projection": "external"})) as ledger:
        await ledger.tenants.create_tenant_db(tenant_id, "A tenant of a test")
        return (await ledger.tenant(tenant_id)).database


@pytest.fixture
def database(settings: Settings) -> TenantDatabase:
    """A fresh tenant's database; it belongs to no event loop."""
    return asyncio.run(_made_tenant(settings))


@pytest.fixture
def application_env(database: TenantDatabase) -> Iterator[dict[str, str]]:
    """What `tenant.application_env()` gives."""
    handle = recorder.register(database)
    yield {"PERSISTENCE_MODULE": "ledger.store.recorder", "DAICHO_TENANT_HANDLE": handle}
    recorder.release(handle)

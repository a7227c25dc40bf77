"""A recorder's life: the handle of its tenant, closing, forking."""

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import (
    InfrastructureFactory,
    InterfaceError,
)
from eventsourcing.utils import Environment
from recorders import factory_of, recording, stored

from ledger import Ledger, Tenant
from ledger.store.recorder import (
    TenantHandleMissing,
    background,
)

# Handles, threads, processes


async def test_the_environment_holds_text_and_no_address(tenant: Tenant) -> None:
    env = tenant.application_env()
    assert env.keys() == {"PERSISTENCE_MODULE", "DAICHO_TENANT_HANDLE"}
    assert tenant.database.name not in str(env)
    assert tenant.application_env() == env


async def test_a_handle_ends_with_its_tenant(settings: Any) -> None:
    async with await Ledger.open(settings) as ledger:
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "A tenant")
        env = (await ledger.tenant(tenant_id)).application_env()
    for given in (env, {"PERSISTENCE_MODULE": "ledger.store.recorder"}):
        with pytest.raises(TenantHandleMissing, match="application_env"):
            InfrastructureFactory.construct(Environment("Orders", given))


async def test_a_closed_application_says_so_and_the_last_one_stops_the_thread(tenant: Tenant) -> None:
    others = background._users
    factory, another = factory_of(tenant), factory_of(tenant)
    assert background._users == others, "nothing is opened before it is used"
    recorder = factory.application_recorder()
    recorder.insert_events([stored("a")])
    assert another.application_recorder().max_notification_id() == 1
    assert background._users == others + 2
    factory.close()
    factory.close()
    with pytest.raises(InterfaceError, match="closed"):
        recorder.select_events("a")
    another.close()
    assert background._users == others == 0, "an application of another test was not closed"
    assert "daicho-recorder" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_after_a_fork_the_parents_recorder_refuses_and_a_new_one_works(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a")])
        env = tenant.application_env()

        def in_child() -> bool:
            try:
                recorder.insert_events([stored("a", 2)])
            except InterfaceError:
                factory = InfrastructureFactory.construct(Environment("Orders", env))
                positions = factory.application_recorder().insert_events([stored("b")])
                factory.close()
                return positions == [2]
            return False

        assert await asyncio.to_thread(_exit_code, in_child) == 0
        assert recorder.insert_events([stored("a", 2)]) == [3]


def _exit_code(work: Callable[[], bool]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

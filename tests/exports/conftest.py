"""A tenant with what an export has to carry: runs, an erasure, a prompt pack, an application's bytes."""

import asyncio

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from ledger import Tenant
from tests.lifecycle.conftest import fill


class Counter(Aggregate):
    @event("Counted")
    def count(self) -> None:
        pass


@pytest.fixture
async def filled(tenant: Tenant) -> Tenant:
    await fill(tenant)
    async with tenant.run("Übung 2", prompt_pack="mock_pack") as run, run.step("s") as step:
        await step.put(b"a body", "a.txt")

    def work(env: dict[str, str]) -> None:
        application = Application[object](env=env)
        counter = Counter()
        counter.count()
        application.save(counter)
        application.close()

    await asyncio.to_thread(work, tenant.application_env())
    return tenant

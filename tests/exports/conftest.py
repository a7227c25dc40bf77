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


def count_once(env: dict[str, str]) -> None:
    """Two events of an application: that there is a counter, and that it counted."""
    application = Application[object](env=env)
    counter = Counter()
    counter.count()
    application.save(counter)
    application.close()


@pytest.fixture
async def filled(tenant: Tenant) -> Tenant:
    await fill(tenant)
    async with tenant.run("Übung 2", prompt_pack="mock_pack") as run, run.step("s") as step:
        await step.put(b"a body", "a.txt")

    await asyncio.to_thread(count_once, tenant.application_env())
    return tenant

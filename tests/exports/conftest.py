"""A tenant with what an export has to carry: runs, an erasure, a prompt pack, an application's bytes, and
texts and sizes that formats stumble over."""

import asyncio

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from ledger import Event, Tenant
from tests.lifecycle.conftest import fill


class Counter(Aggregate):
    @event("Counted")
    def count(self) -> None:
        pass


def count_once(env: dict[str, str]) -> None:
    """Two events of an application: that there is a counter, and that it counted. Their bytes are no text."""
    application = Application[object](env={**env, "COMPRESSOR_TOPIC": "zlib"})
    counter = Counter()
    counter.count()
    application.save(counter)
    application.close()


def lost(tenant: Tenant, event_type: str) -> Event:
    return Event(event_type=event_type, run_id="lost", step_id="s", attempt=1, tenant_id=tenant.tenant_id)  # type: ignore[arg-type]


@pytest.fixture
async def filled(tenant: Tenant) -> Tenant:
    await fill(tenant)
    async with tenant.run("Übung 2", prompt_pack="mock_pack") as run, run.step("s") as step:
        await step.put(b"a body", "a.txt")

    awkward = 'quo"te, comma; line\nline\r\nü \\ \u2028 \t =1+1'
    async with tenant.run("run, 3", pipeline=awkward, prompt_pack="mock_pack") as run, run.step('"s",;'):
        pass
    large = Event(
        event_type="run.cancelled",
        run_id="large",
        tenant_id=tenant.tenant_id,
        actor='ann "a", b',
        payload={"reason": "x" * (64 * 1024 - len('{"reason":""}'))},
    )
    await tenant.emitter.emit_many([large, lost(tenant, "step.started"), lost(tenant, "step.lost")])
    await asyncio.to_thread(count_once, tenant.application_env())
    return tenant

"""The version a stream had is remembered, as a hint; where it is out of date, nothing comes out wrong."""

from ledger import Event, Ledger, Settings, Tenant
from ledger.store.last_versions import STREAMS_MAX


def fact(tenant: Tenant, run_id: str = "run-1") -> Event:
    return Event(event_type="step.started", run_id=run_id, step_id="draft", tenant_id=tenant.tenant_id)


async def test_two_writers_of_one_run_never_agree_on_a_version(tenant: Tenant, settings: Settings) -> None:
    async with await Ledger.open(settings) as another:
        rival = await another.tenant(tenant.tenant_id)
        for _ in range(5):
            for one in (tenant, tenant, rival):
                await one.emitter.emit(fact(one))
            await rival.emitter.emit_many([fact(rival), fact(rival, "run-2"), fact(rival)])
            await tenant.emitter.emit_many([fact(tenant, "run-2"), fact(tenant), fact(tenant, "run-2")])
    for run_id, count in (("run-1", 30), ("run-2", 15)):
        events = await tenant.store.read_run(run_id)
        assert [event.version for event in events] == list(range(1, count + 1))
        assert sorted(events) == events, "versions rise with positions"
    assert await tenant.store.head() == 45


async def test_a_hint_that_is_out_of_date_is_looked_up_alone_and_in_company(tenant: Tenant) -> None:
    first = await tenant.emitter.emit(fact(tenant))
    await tenant.emitter.emit(fact(tenant))
    tenant.store._last_versions.note([first])
    assert (await tenant.emitter.emit(fact(tenant))).version == 3
    tenant.store._last_versions.note([first])
    recorded = await tenant.emitter.emit_many([fact(tenant), fact(tenant, "run-2"), fact(tenant)])
    assert [event.version for event in recorded] == [4, 1, 5]


async def test_as_many_streams_are_remembered_as_is_said(tenant: Tenant) -> None:
    recorded = await tenant.emitter.emit(fact(tenant))
    remembered = tenant.store._last_versions
    for number in range(STREAMS_MAX + 5):
        remembered.note([recorded._replace(run_id=f"run-{number}")])
    assert len(remembered._versions) == STREAMS_MAX
    assert remembered.of(fact(tenant, f"run-{STREAMS_MAX + 4}")) == 1
    assert remembered.of(fact(tenant, "run-0")) is None

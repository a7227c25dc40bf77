"""The version a stream had is remembered, as a hint; where it is out of date, nothing comes out wrong."""

from ledger import Event, Ledger, Settings, Tenant
from ledger.store.last_versions import STREAMS_MAX, LastVersions


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
    await tenant.emitter.emit_many([fact(tenant), fact(tenant)])
    tenant.store._appender.flights.last_versions.note(["run-1"], [1])
    assert (await tenant.emitter.emit(fact(tenant))).version == 3
    tenant.store._appender.flights.last_versions.note(["run-1"], [1])
    recorded = await tenant.emitter.emit_many([fact(tenant), fact(tenant, "run-2"), fact(tenant)])
    assert [event.version for event in recorded] == [4, 1, 5]


async def test_runs_that_are_remembered_and_runs_that_are_not_go_into_one_append(tenant: Tenant) -> None:
    for run_id in ("run-1", "run-2", "run-2"):
        await tenant.emitter.emit(fact(tenant, run_id))
    tenant.store._appender.flights.last_versions.forget()
    await tenant.emitter.emit(fact(tenant, "run-1"))
    recorded = await tenant.emitter.emit_many([fact(tenant, f"run-{n}") for n in (1, 2, 3, 2, 1, 3)])
    assert [event.version for event in recorded] == [3, 3, 1, 4, 4, 2]
    again = await tenant.emitter.emit_many([fact(tenant, f"run-{n}") for n in (3, 2, 1)])
    assert [event.version for event in again] == [3, 5, 5]
    assert await tenant.store.read(4) == recorded + again


def test_versions_follow_what_is_remembered_and_else_count_from_minus_one() -> None:
    versions = LastVersions()
    assert versions.next_for("aabab") == [-1, -2, -1, -3, -2]
    versions.note("aabab", [4, 5, 1, 6, 2])
    assert versions.next_for("abcac") == [7, 3, -1, 8, -2]
    versions.forget()
    assert versions.next_for("a") == [-1]


def test_no_more_streams_are_remembered_than_is_said() -> None:
    versions = LastVersions()
    names = [f"run-{number}" for number in range(3 * STREAMS_MAX)]
    for name in names:
        versions.note([name], [1])
        assert len(versions._younger) + len(versions._elder) <= STREAMS_MAX + 1
    remembered = [name for name in names if versions.of(name)]
    assert remembered == names[-len(remembered) :]
    assert len(remembered) >= STREAMS_MAX // 2

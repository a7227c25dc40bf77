"""Through PostgreSQL: whatever is emitted and however it is projected, the tables are those of a rebuild
and of a fresh fold. The pure half of this stands in test_fold_properties.py."""

import asyncio
from itertools import cycle
from uuid import uuid4

import pytest
from builder import fold_all
from database_rows import live_records
from event_strategies import Fact, can_be_emitted, cuts, interleaved
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ledger import Ledger, Settings, Tenant
from projections import Projector, rebuild, verify
from projections import projector as projector_module


@hypothesis_settings(
    max_examples=15,
    deadline=None,
    # Each example takes a database of its own: a failure is shown as it was found, not made smaller.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,  # the settings are the same for every example
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(interleaved(), cuts, st.lists(st.booleans(), min_size=1), st.integers(1, 6))
def test_tables_are_the_same_however_they_came_to_be(
    settings: Settings, facts: list[Fact], sizes: list[int], stops: list[bool], batch_events: int
) -> None:
    asyncio.run(_compare(settings, facts, sizes, stops, batch_events))


async def _compare(
    settings: Settings, facts: list[Fact], sizes: list[int], stops: list[bool], batch_events: int
) -> None:
    external = settings.model_copy(update={"projection": "external"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(projector_module, "BATCH_EVENTS_MAX", batch_events)
        async with await Ledger.open(external) as ledger:
            tenant_id = f"t-{uuid4().hex[:12]}"
            await ledger.tenants.create_tenant_db(tenant_id, "A tenant of an example")
            await _project_and_compare(await ledger.tenant(tenant_id), facts, sizes, stops)


async def _project_and_compare(
    tenant: Tenant, facts: list[Fact], sizes: list[int], stops: list[bool]
) -> None:
    # An erasure records itself and packs are decided: neither can be emitted. test_erasure_guards.py
    # and tests/prompts have those.
    facts = [fact for fact in facts if can_be_emitted(fact.event_type)]
    projector = Projector(tenant.store)
    start = 0
    for size, stop in zip(cycle(sizes), cycle(stops), strict=False):
        await tenant.emitter.emit_many(
            [fact.to_event(tenant.tenant_id) for fact in facts[start : start + size]]
        )
        await projector.catch_up()
        if stop:
            await projector.close()
            projector = Projector(tenant.store)
        start += size
        if start >= len(facts):
            break
    await projector.close()

    live = await live_records(tenant)
    expected = fold_all(await tenant.store.read(limit=10_000)).tables
    assert live == expected.records()
    verified = await verify(tenant)
    assert verified.ok, [str(found) for found in verified.differences]
    assert verified.position == len(facts)
    rebuilt = await rebuild(tenant)
    assert rebuilt.digests == {name: table.live_digest for name, table in verified.tables.items()}
    assert await live_records(tenant) == live

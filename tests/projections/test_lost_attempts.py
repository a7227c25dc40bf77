"""Attempts past their timeout are recorded as lost, once, unless they ended."""

from datetime import UTC, datetime, timedelta

import pytest
from database_rows import catch_up, connected, started
from followers import following, hurry

from ledger import Event, EventType, Ledger, Settings, Tenant
from projections.following import session
from projections.lost import mark_lost, overdue_attempts, seconds_to_next_overdue


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


async def running(tenant: Tenant, seconds_ago: float, timeout_seconds: float | None, run: str) -> None:
    step = Event(
        event_type=EventType.STEP_STARTED,
        run_id=run,
        step_id="draft",
        attempt=1,
        tenant_id=tenant.tenant_id,
        timestamp=datetime.now(UTC) - timedelta(seconds=seconds_ago),
        payload={} if timeout_seconds is None else {"timeout_seconds": timeout_seconds},
    )
    await tenant.emitter.emit_many([started(tenant, run), step])


async def test_an_attempt_past_its_timeout_and_the_grace_is_recorded_as_lost_once(tenant: Tenant) -> None:
    await running(tenant, 100, 60, "late")
    await running(tenant, 100, 80, "in-grace")
    await running(tenant, 100, None, "unlimited")
    await running(tenant, 100, 1e300, "for-ever")
    await catch_up(tenant)

    overdue = await overdue_attempts(tenant.reader, grace_seconds=30)
    assert [attempt.run_id for attempt in overdue] == ["late"]
    seconds = await seconds_to_next_overdue(tenant.reader, grace_seconds=30)
    assert seconds is not None
    assert -12 < seconds < -9
    [first] = await mark_lost(tenant.store, overdue)
    assert await mark_lost(tenant.store, overdue) == [first]  # whoever sweeps again records nothing new
    await catch_up(tenant)

    rows = await tenant.reader.fetch("SELECT status, lost_by FROM projection.attempts WHERE run_id = 'late'")
    assert [tuple(row) for row in rows] == [("lost", "daicho")]
    assert await overdue_attempts(tenant.reader, grace_seconds=30) == []


async def test_an_end_that_was_recorded_meanwhile_wins_over_the_sweep(tenant: Tenant) -> None:
    await running(tenant, 100, 10, "late")
    await catch_up(tenant)
    overdue = await overdue_attempts(tenant.reader)
    end = Event(
        event_type=EventType.STEP_SUCCEEDED, run_id="late", step_id="draft", tenant_id=tenant.tenant_id
    )
    await tenant.emitter.emit(end)

    assert await mark_lost(tenant.store, overdue) == []
    assert await tenant.store.head() == 3


async def test_a_follower_sweeps_when_an_attempt_comes_to_be_overdue(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SWEEP_SPACING_SECONDS", 0.1)
    monkeypatch.setattr(session, "IDLE_SECONDS", 0.1)
    await running(tenant, 0, 1.0, "run-1")
    async with following(ledger, tenant, grace_seconds=0.2):
        await tenant.wait_projected(3)  # step.lost
    [event] = await tenant.store.read(2)
    assert (event.event_type, event.actor) == (EventType.STEP_LOST, "daicho")
    async with connected(tenant) as connection:
        assert await connection.fetchval("SELECT status FROM projection.steps") == "lost"

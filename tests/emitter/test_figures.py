"""An emitter tells how it is doing: as a snapshot, and as OpenTelemetry metrics where asked for."""

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from ledger import Event, Tenant
from ledger.errors import StoreUnavailable
from ledger.integrations.otel import attach


def fact(tenant: Tenant, number: int) -> Event:
    return Event(
        event_type="step.started", run_id=f"run-{number}", step_id="draft", tenant_id=tenant.tenant_id
    )


async def test_a_snapshot_counts_events_commits_and_their_sizes(tenant: Tenant) -> None:
    before = tenant.emitter.figures()
    assert (before.events, before.commits, before.commit_ms_p50) == (0, 0, None)
    await asyncio.gather(*(tenant.emitter.emit(fact(tenant, number)) for number in range(100)))
    after = tenant.emitter.figures()
    assert after.events == 100
    assert 1 <= after.commits < 100
    assert after.commit_events_max >= after.commit_events_mean > 1
    assert after.commit_ms_p50 is not None
    assert after.commit_ms_p99 is not None
    assert 0 < after.commit_ms_p50 <= after.commit_ms_p99
    assert (after.queue_events, after.queue_bytes, after.waiting, after.retries) == (0, 0, 0, 0)


async def test_a_full_queue_shows_who_waits_for_room(tenant: Tenant) -> None:
    emitting = [asyncio.create_task(tenant.emitter.emit(fact(tenant, number))) for number in range(50)]
    await asyncio.sleep(0)
    assert tenant.emitter.figures().queue_events > 0
    assert tenant.emitter.figures().queue_bytes > 0
    await asyncio.gather(*emitting)


async def test_a_commit_tried_again_counts_as_a_retry(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, failures = tenant.store.append_groups, iter([StoreUnavailable("the server is restarting")])

    async def failing_once(groups: Any) -> Any:
        for failure in failures:
            raise failure
        return await append(groups)

    monkeypatch.setattr(tenant.store, "append_groups", failing_once)
    await tenant.emitter.emit(fact(tenant, 1))
    assert (tenant.emitter.figures().retries, tenant.emitter.figures().events) == (1, 1)


async def test_opentelemetry_hears_the_same_figures(tenant: Tenant) -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider(metric_readers=[reader]).get_meter("test")
    attach(tenant.emitter, tenant.tenant_id, meter)
    await asyncio.gather(*(tenant.emitter.emit(fact(tenant, number)) for number in range(30)))
    points = dict(_points(reader))
    figures = tenant.emitter.figures()
    assert points["daicho.emitter.events"].value == 30
    assert points["daicho.emitter.commit.events"].count == figures.commits
    assert points["daicho.emitter.commit.duration"].sum > 0
    assert points["daicho.emitter.queue"].value == 0
    assert points["daicho.emitter.events"].attributes == {"daicho.tenant": tenant.tenant_id}


def _points(reader: InMemoryMetricReader) -> list[tuple[str, Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    return [
        (metric.name, metric.data.data_points[0])
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]

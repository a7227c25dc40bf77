"""DAICHO_METRICS=opentelemetry in a process as users have it: with an exporter of theirs, with the API alone,
and without either."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import Tenant

EMIT = """
import asyncio, os, sys
BEFORE
from ledger import Event, Ledger, Settings
async def main():
    async with await Ledger.open(Settings(projection="external")) as ledger:
        tenant = await ledger.tenant(os.environ["TENANT"])
        event = {"event_type": "run.cancelled", "run_id": "r", "tenant_id": tenant.tenant_id}
        for _ in range(5):
            await tenant.emitter.emit(Event(**event))
asyncio.run(main())
AFTER
"""
EXPORTER = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
"""
SAY = """
for resource in reader.get_metrics_data().resource_metrics:
    for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
        for point in metric.data.data_points:
            count = point.count if hasattr(point, "count") else point.value
            print(metric.name, count, point.attributes["daicho.tenant"])
"""
WITHOUT = """
class Missing:
    def find_spec(self, name, *_):
        if name == "NAME" or name.startswith("NAME."):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
"""


def emitting(home: Path, tenant: Tenant, before: str, after: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", EMIT.replace("BEFORE", before).replace("AFTER", after)],
        env={
            **os.environ,
            "DAICHO_HOME": str(home),
            "DAICHO_METRICS": "opentelemetry",
            "TENANT": tenant.tenant_id,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("postgres")
async def test_the_applications_own_exporter_gets_them(home: Path, tenant: Tenant) -> None:
    done = emitting(home, tenant, EXPORTER, SAY)
    assert done.returncode == 0, done.stderr
    told = {name: (value, tenant_id) for name, value, tenant_id in map(str.split, done.stdout.splitlines())}
    assert told["daicho.emitter.events"] == ("5", tenant.tenant_id)
    assert told["daicho.emitter.commit.duration"] == ("5", tenant.tenant_id)
    assert told["daicho.emitter.commit.events"] == ("5", tenant.tenant_id)
    assert "daicho.emitter.queue" in told


async def test_the_api_alone_is_enough_and_then_nobody_hears_them(home: Path, tenant: Tenant) -> None:
    done = emitting(home, tenant, WITHOUT.replace("NAME", "opentelemetry.sdk"))
    assert (done.returncode, done.stderr) == (0, "")
    assert await tenant.store.head() == 5


async def test_without_the_api_it_is_an_error_that_says_what_to_install(home: Path, tenant: Tenant) -> None:
    done = emitting(home, tenant, WITHOUT.replace("NAME", "opentelemetry"))
    assert done.returncode == 1
    assert "SettingsError" in done.stderr
    assert "Install daicho[otel]" in done.stderr
    assert await tenant.store.head() == 0

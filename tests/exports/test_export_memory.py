"""An export holds a page of the log in memory, of OpenLineage a run, however long the log is."""

import io
import tracemalloc
from typing import Any

import pytest

from ledger import Ledger, Settings, Tenant
from ledger.exports import FORMATS, Format, export_events
from tests.bench.filling import RUN_EVENTS, fill
from tests.lifecycle.conftest import new_id


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nothing else is at work in this process: a projector would hold pages of its own."""
    return settings.model_copy(update={"projection": "external"})


class Nowhere(io.RawIOBase):
    """Keeps nothing of what is written to it."""

    written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.written += len(data)
        return len(data)


async def filled(ledger: Ledger, events: int) -> Tenant:
    tenant_id = new_id()
    await ledger.tenants.create_tenant_db(tenant_id, "A long log")
    tenant = await ledger.tenant(tenant_id)
    await fill(tenant, events, RUN_EVENTS)
    return tenant


async def peak_of(tenant: Tenant, format: Format) -> tuple[int, int]:
    """The most bytes held at once, and how many were written."""
    file = Nowhere()
    tracemalloc.start()
    try:
        await export_events(tenant, file, format)
        return tracemalloc.get_traced_memory()[1], file.written
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("short", "long"),
    [(10_000, 50_000), pytest.param(100_000, 1_000_000, marks=pytest.mark.torture)],
    ids=["50 thousand", "a million"],
)
async def test_an_export_holds_a_page_in_memory_however_long_the_log(
    ledger: Ledger, short: int, long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the shorter log, too, several row groups are written.
    monkeypatch.setattr("ledger.exports.tabular.ROW_GROUP_EVENTS", 5_000)
    one, other = await filled(ledger, short), await filled(ledger, long)
    for format in FORMATS:
        await peak_of(one, format)  # what is loaded once is loaded
        little, few = await peak_of(one, format)
        much, many = await peak_of(other, format)
        print(f"{format}: {little:,} bytes held for {few:,} written, {much:,} for {many:,}")
        assert many > 0.9 * long / short * few, format
        assert much < 1.5 * little, format

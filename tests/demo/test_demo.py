"""The demo, end to end, asserted from the store and the tables."""

import asyncio
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ledger import ArtifactRef, EventType, Ledger, Settings
from ledger.demo import story
from ledger.demo.activities import Tools
from ledger.demo.main import run_demo
from ledger.demo.pipeline import make_article
from ledger.demo.service import KeywordService, ask_keywords
from ledger.demo.texts import Texts, find_texts
from ledger.prompts import mock_pack
from projections import verify
from projections.audit import AuditQueries
from projections.run_listing import list_runs

LONG = """# The ledger keeps every attempt of every step, and says afterwards what each one of them did

A ledger of runs keeps events. Events are facts, and facts are appended to a store of events. Projections are
folded from events, and tables that were dropped are folded from events again whenever anybody asks for them.

## Fixed

## Fixed

Projections fold events of the ledger into tables of runs, steps and attempts.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "texts"
    made.mkdir()
    (made / "ledger.md").write_text(LONG)
    (made / "plain.txt").write_text(
        "Notes on projections.\n\n" + "A projection folds events into tables. " * 9
    )
    (made / "broken.md").write_bytes(b"# Latin-1\n\nna\xefve\n")
    (made / "empty.txt").write_text(" \n")
    return made


@pytest.fixture
def tenant_id(monkeypatch: pytest.MonkeyPatch) -> str:
    """A tenant of this test's own, for other tests run the demo too."""
    monkeypatch.setattr(story, "TENANT_ID", "demo-of-a-test")
    return "demo-of-a-test"


async def told(settings: Settings, folder: Path) -> tuple[int, str]:
    out = StringIO()
    code = await run_demo(settings, folder, Console(file=out, width=100))
    return code, out.getvalue()


async def test_the_demo_does_what_it_says_and_can_be_run_again(
    settings: Settings, folder: Path, tenant_id: str
) -> None:
    for time in (1, 2):
        code, shown = await told(settings, folder)
        assert code == 0
        assert "DIFFERENT" not in shown
        assert "0xef at offset 13" in shown
        async with await Ledger.open(settings) as ledger:
            tenant = await ledger.tenant(tenant_id)
            await tenant.wait_projected(await tenant.store.head())
            runs = (await list_runs(tenant)).runs
            assert len(runs) == 4 * time
            ended = {run.run_id.split("-")[0]: run for run in runs[:4]}
            assert {name: run.status for name, run in ended.items()} == {
                "ledger": "succeeded",
                "plain": "succeeded",
                "broken": "failed",
                "empty": "failed",
            }
            assert ended["broken"].error_category == "non_retryable"
            assert ended["broken"].error_message == "broken.md is not UTF-8: byte 0xef at offset 13"
            assert f"{ended['broken'].run_id}: read, non_retryable" in shown
            assert sum(run.retries for run in ended.values()) >= 1
            assert ended["ledger"].repairs >= 1
            assert all(run.anomalies == 0 for run in runs)
            repairs = [
                event.payload or {}
                for event in await tenant.store.read_run(ended["ledger"].run_id)
                if event.event_type is EventType.REPAIR_APPLIED
            ]
            assert all(repair["before"]["digest"] != repair["after"]["digest"] for repair in repairs)
            assert all(repair["issues"] and repair["note"] for repair in repairs)
            assert (await verify(tenant)).ok


async def test_the_state_that_travelled_is_the_state_the_events_give(ledger: Ledger, folder: Path) -> None:
    await ledger.tenants.create_tenant_db("demo-state", "Demo")
    tenant = await ledger.tenant("demo-state")
    texts = find_texts(folder, folder)
    async with KeywordService(texts) as service:
        tools = Tools(texts.path("ledger.md"), "ledger.md", service.address, mock_pack())
        state = await make_article(tenant, "run-1", tools)
    assert state == await AuditQueries(tenant).state_at("run-1")
    assert [error.is_retryable() for error in state["errors"]] == [True] * len(state["errors"])
    assert state["errors"]
    page = await tenant.artifacts.get(ArtifactRef.model_validate(state["step_outputs"]["render"]))
    assert b"<h2>Fixed</h2>" in page or b"<strong>Fixed</strong>" in page


async def test_the_first_caller_of_the_service_meets_a_real_reset(folder: Path) -> None:
    async with KeywordService(Texts(folder, ("ledger.md",))) as service:
        with pytest.raises(ConnectionError):
            await ask_keywords(service.address, LONG.encode())
        for _attempt in range(100):
            await asyncio.sleep(0.02)
            try:
                ranked = await ask_keywords(service.address, LONG.encode())
                break
            except ConnectionError:
                continue
        assert ranked[0]["term"] == "events"
        assert service.resets >= 1


async def test_a_stopped_demo_leaves_cancelled_runs_and_no_open_ones(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "TENANT_ID", "demo-stopped")
    running = asyncio.create_task(told(settings, folder))
    async with await Ledger.open(settings) as ledger:
        await ledger.tenants.create_tenant_db("demo-stopped", "Demo")
        tenant = await ledger.tenant("demo-stopped")
        async for event in tenant.store.subscribe():
            if event.event_type is EventType.STEP_FAILED and event.step_id == "keywords":
                break
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await tenant.wait_projected(await tenant.store.head())
        runs = (await list_runs(tenant)).runs
        assert "cancelled" in {run.status for run in runs}
        assert "running" not in {run.status for run in runs}

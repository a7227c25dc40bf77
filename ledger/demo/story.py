"""The story the demo tells: work, then every question the ledger answers about it."""

import time
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ledger.composition import Ledger
from ledger.contract.events import EventType
from ledger.demo import show
from ledger.demo.main import TENANT_ID, TENANT_NAME
from ledger.demo.session import FILES_AT_ONCE_MAX, Session, run_session
from ledger.demo.texts import Texts
from ledger.settings import Settings
from ledger.tenant import Tenant
from projections import Projector, rebuild, verify
from projections.audit import AuditQueries
from projections.rows import RunRow
from projections.run_listing import LIMIT_MAX, list_runs


async def tell_story(settings: Settings, texts: Texts, console: Console, now: datetime) -> int:
    """Prints the whole demo; returns 1 where live, rebuilt and freshly folded tables differ."""
    started = time.monotonic()
    with console.status("opening the ledger"):
        ledger = await Ledger.open(settings)
    async with ledger:
        await ledger.tenants.create_tenant_db(TENANT_ID, TENANT_NAME)
        tenant = await ledger.tenant(TENANT_ID)
        show.opening(console, ledger, texts)
        session = await _work(tenant, texts, console, now)
        runs = await _projected(tenant, session)
        chosen = choose_run(runs)
        show.runs(console, session, runs, FILES_AT_ONCE_MAX)
        await _show_run(tenant, chosen, console)
        equal = await _rebuild_and_verify(tenant, console)
        await _show_earlier(tenant, chosen, console)
        show.what_next(console, chosen, time.monotonic() - started)
    return 0 if equal else 1


def choose_run(runs: Sequence[RunRow]) -> RunRow:
    """The run worth showing: with a retry and a repair if there is one, with few events."""
    return min(runs, key=lambda run: (-(run.retries > 0) - (run.repairs > 0), -run.repairs, run.last_version))


async def _work(tenant: Tenant, texts: Texts, console: Console, now: datetime) -> Session:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("writing articles", total=len(texts.names))
        return await run_session(tenant, texts, now, lambda _name: progress.advance(task))


async def _projected(tenant: Tenant, session: Session) -> list[RunRow]:
    """The session's runs as the tables have them, in the order of the texts."""
    await _caught_up(tenant)
    listed = {run.run_id: run for run in (await list_runs(tenant, limit=LIMIT_MAX)).runs}
    return [listed[run_id] for run_id in session.run_ids]


async def _show_run(tenant: Tenant, run: RunRow, console: Console) -> None:
    timeline = await AuditQueries(tenant).timeline(run.run_id)
    events = await tenant.store.read_run(run.run_id)
    show.timeline(console, timeline, {event.position: event for event in events})
    repairs = [event for event in events if event.event_type is EventType.REPAIR_APPLIED]
    await show.repairs(console, tenant, repairs)


async def _rebuild_and_verify(tenant: Tenant, console: Console) -> bool:
    live = await verify(tenant)
    rebuilt = await rebuild(tenant, by="daicho demo")
    await _caught_up(tenant)
    fresh = await verify(tenant)
    return show.rebuilt(console, live, rebuilt, fresh)


async def _show_earlier(tenant: Tenant, run: RunRow, console: Console) -> None:
    """The run as of its first failed attempt, or else as of its middle."""
    events = await tenant.store.read_run(run.run_id)
    failed = [event for event in events if event.event_type is EventType.STEP_FAILED]
    point = failed[0] if failed else events[len(events) // 2]
    audit = AuditQueries(tenant)
    then = await audit.state_at(run.run_id, position=point.position)
    show.earlier(console, point, then, await audit.state_at(run.run_id))


async def _caught_up(tenant: Tenant) -> None:
    """Projects what is left, whether or not this process also projects in the background: whoever
    comes second finds the checkpoint moved and goes on from there."""
    projector = Projector(tenant.store)
    try:
        await projector.catch_up()
    finally:
        await projector.close()

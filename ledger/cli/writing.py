"""Commands that write: init, emit, rebuild, verify (which only compares), demo."""

import sys
from pathlib import Path
from typing import Any, TextIO

import click
import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ledger.cli import render
from ledger.cli.running import (
    CHECK_FAILED,
    err,
    json_option,
    load_settings,
    open_tenant,
    out,
    print_json,
    print_json_line,
    runs_async,
    tenant_option,
)
from ledger.composition import blob_backend
from ledger.contract.events import Event
from ledger.control.migrations import upgrade_control
from ledger.control.server import open_server
from ledger.errors import InvalidEvent
from projections import rebuild as rebuild_tables
from projections import verify as verify_tables

_NOTHING_SENT = "Correct the line; nothing was sent"


@click.command()
@runs_async
async def init() -> None:
    """Prepare the configured stores: the control database's schema, and the bucket or folder."""
    settings = load_settings()
    async with open_server(settings) as server:
        await upgrade_control(server)
        blobs = blob_backend(settings)
        try:
            await blobs.prepare()
            await blobs.check()
        finally:
            await blobs.close()
        out.print(f"Control database ready: {server.name}")
        out.print(f"Blob store ready: {blobs.describe()}")


@click.command()
@tenant_option
@click.argument("file", type=click.File("r", encoding="utf-8"), default="-")
@runs_async
async def emit(tenant_id: str | None, file: TextIO) -> None:
    """Append events, one JSON object per line of FILE (default: standard input), and print each as
    recorded. Every line is checked before the first is sent.

    \b
    {"event_type": "step.started", "run_id": "r1", "step_id": "outline", "payload": {}}
    """
    async with open_tenant(tenant_id) as opened:
        lines = [(number, line) for number, line in enumerate(file, 1) if line.strip()]
        events = [_event(line, number, opened.tenant_id) for number, line in lines]
        for event in events:
            print_json_line((await opened.emitter.emit(event)).to_dict())


def _event(line: str, number: int, tenant_id: str) -> Event:
    try:
        fields: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"Line {number} is not JSON: {error}", fix=_NOTHING_SENT) from None
    if not isinstance(fields, dict):
        raise InvalidEvent(f"Line {number} is not a JSON object", fix=_NOTHING_SENT)
    return Event(**{"tenant_id": tenant_id, **fields})


@click.command()
@tenant_option
@json_option
@runs_async
async def rebuild(tenant_id: str | None, as_json: bool) -> None:
    """Drop the projection tables' rows and fold them from the events again."""
    async with open_tenant(tenant_id, projection="external") as opened:
        with _progress("rebuilding") as bar:
            report = await rebuild_tables(opened, progress=bar.moved)
    if as_json:
        print_json(report)
        return
    rate = report.events / max(report.seconds, 0.001)
    out.print(
        f"{report.events} events folded in {report.seconds:.2f} s ({rate:,.0f} events/s), "
        f"up to position {report.position}"
    )
    made = render.table("table", "#rows", "digest")
    for name, digest in report.digests.items():
        made.add_row(name, str(report.rows[name]), digest[:24])
    out.print(made)


@click.command()
@tenant_option
@json_option
@runs_async
async def verify(tenant_id: str | None, as_json: bool) -> int:
    """Compare the tables with a fresh fold of the events. Exit code 1 where they differ."""
    async with open_tenant(tenant_id, projection="external") as opened:
        with _progress("verifying") as bar:
            report = await verify_tables(opened, progress=bar.moved)
    if as_json:
        print_json(report)
    else:
        out.print(render.verify_view(report))
        verdict = "equal" if report.ok else f"{report.difference_count} differences"
        out.print(f"{report.events} events folded, tables at position {report.position}: {verdict}")
    return 0 if report.ok else CHECK_FAILED


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@runs_async
async def demo(folder: Path | None) -> int:
    """Run a real pipeline over text files: FOLDER, or this folder's README, ARCHITECTURE and docs."""
    from ledger.demo.main import run_demo

    return await run_demo(load_settings(), folder, out)


class _progress:
    """A bar on standard error where that is a terminal, nothing where it is not."""

    def __init__(self, label: str) -> None:
        self._bar = Progress(
            TextColumn(label),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(label, total=None)

    def moved(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def __enter__(self) -> "_progress":
        self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.stop()


def render_console() -> Any:
    from ledger.cli.running import err

    return err

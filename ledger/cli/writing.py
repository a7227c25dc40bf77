"""Commands that write: init, emit, demo."""

from pathlib import Path
from typing import Any, TextIO

import click
import orjson
from pydantic import ValidationError

from ledger.cli.running import (
    load_settings,
    open_tenant,
    out,
    print_json_line,
    runs_async,
    said_of,
    tenant_option,
)
from ledger.composition import blob_backend
from ledger.contract.events import Event
from ledger.control.migrations import upgrade_control
from ledger.control.server import open_server
from ledger.emitter import require_emittable
from ledger.errors import DaichoError, InvalidEvent
from ledger.store.append import encode_event

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
    try:
        event = Event(**{"tenant_id": tenant_id, **fields})
        require_emittable(event, tenant_id)
        encode_event(event)  # a payload that cannot be recorded is refused before any line is sent
    except ValidationError as error:
        raise InvalidEvent(f"Line {number} is no event: {said_of(error)}", fix=_NOTHING_SENT) from None
    except DaichoError as error:
        raise InvalidEvent(
            f"Line {number} is refused: {error.problem}",
            expected=error.expected,
            found=error.found,
            fix=_NOTHING_SENT,
        ) from None
    return event


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@runs_async
async def demo(folder: Path | None) -> int:
    """Run a real pipeline over text files: FOLDER, or this folder's README, ARCHITECTURE and docs."""
    from ledger.demo.main import run_demo

    return await run_demo(load_settings(), folder, out)

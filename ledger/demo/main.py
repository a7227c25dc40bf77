"""`daicho demo`: runs the pipeline over text files, then shows what the ledger makes of it."""

import asyncio
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from ledger.demo.errors import DemoExtraMissing
from ledger.demo.texts import find_texts
from ledger.settings import Settings

TENANT_ID = "demo"
TENANT_NAME = "Demo"
_LIBRARIES = ("jsonschema", "markdown_it")


async def run_demo(
    settings: Settings, folder: Path | None, console: Console, *, now: datetime | None = None
) -> int:
    """Works on every .md and .txt file of `folder` (None: the project's own texts in the current
    one) as tenant `demo`. Returns the exit code: 0, or 1 where the tables do not equal the events.

    `now` (default: the clock) names the runs. Raises NoTexts, DemoExtraMissing, and what
    `Ledger.open` raises.
    """
    _require_extra()
    from ledger.demo.story import tell_story  # it imports the extra

    texts = find_texts(folder, Path.cwd())
    try:
        return await tell_story(settings, texts, console, now or datetime.now().astimezone())
    except asyncio.CancelledError:
        console.print("\nStopped. Whatever run was under way is recorded as cancelled.")
        raise


def _require_extra() -> None:
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise DemoExtraMissing(
            f"The demo needs {' and '.join(missing)}",
            expected="the extra daicho[demo]",
            fix="Install it: pip install 'daicho[demo,embedded]'",
        )

"""Answers as tables for people. Times are shown in the reader's zone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from projections import VerifyReport
from projections.rows import RunRow

STATUS_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "not_started": "dim",
}
_DIGEST = re.compile(r"[0-9a-f]{64}")
WRAPPED = frozenset({"error", "what", "message", "path", "", "name", "parameters", "can"})


def table(*headers: str, title: str | None = None) -> Table:
    made = Table(title=title, title_justify="left", box=None, header_style="bold dim", padding=(0, 1, 0, 0))
    for header in headers:
        is_number = header.startswith("#")
        made.add_column(
            header.removeprefix("#"),
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=header not in WRAPPED,
        )
    return made


def status_text(status: str) -> Text:
    return Text(status.replace("_", " "), style=STATUS_STYLES.get(status, ""))


def runs_table(runs: Sequence[RunRow]) -> RenderableType:
    counts = ("#steps", "#tries", "#fixes", "#odd")
    made = table("run", "status", "pipeline", "started", "#took", *counts, "error")
    for run in runs:
        made.add_row(
            Text(run.run_id),
            status_text(run.status),
            Text(run.pipeline or ""),
            short_time(run.started_at),
            duration(run.duration_ms),
            str(run.steps),
            str(run.attempts),
            count(run.repairs),
            count(run.anomalies),
            Text(first_line(run.error_message or ""), style="red"),
        )
    return made


def verify_view(report: VerifyReport) -> RenderableType:
    made = table("table", "#rows", "digest of the live rows", "equal to a fresh fold")
    for name, compared in report.tables.items():
        verdict = Text("yes", style="green") if compared.equal else Text("NO", style="bold red")
        made.add_row(name, str(compared.rows), compared.live_digest[:24], verdict)
    parts: list[RenderableType] = [made]
    parts.extend(Text(str(difference), style="red") for difference in report.differences)
    if report.awaiting_erasure:
        runs = ", ".join(report.awaiting_erasure)
        parts.append(Text(f"not compared, erased since and not yet folded again: {runs}", style="yellow"))
    hidden = report.difference_count - len(report.differences)
    if hidden:
        parts.append(Text(f"… and {hidden} more", style="red"))
    return Group(*parts)


def standing_notes(
    tenant_id: str, leader: str | None, projections: Sequence[Mapping[str, Any]]
) -> Iterator[Text]:
    """What is to be known of a tenant's projections beside how far the core has come: who leads, which
    ones lag or stand still, and what to do."""
    if leader is not None:
        yield Text(f"{tenant_id}: followed by {leader}", style="dim")
    for found in projections:
        note = Text(f"{tenant_id}: {found['projection']} is {found['state'].replace('_', ' ')}")
        if found["state"] == "current":
            continue
        if found["state"] == "behind":
            note.append(f" by {events(found['lag'])}, {duration(round(found['lag_seconds'] * 1000))}")
        elif found["state"] == "stopped":
            note.append(f" at position {found['stopped_position']}: {first_line(found['stopped_reason'])}")
        elif found["state"] == "outdated":
            note.append(f": version {found['version']} filled it, this is {found['expected_version']}")
        if found["fix"] is not None:
            note.append(f"\n  {found['fix']}", style="bold")
        note.stylize("yellow" if found["state"] in {"behind", "not_made"} else "red", 0, len(tenant_id))
        yield note


def events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def local_time(time: datetime | None) -> str:
    """With the offset: where clocks are put back, an hour comes twice."""
    return "" if time is None else time.astimezone().isoformat(" ", "seconds")


def short_time(time: datetime | None) -> str:
    """For narrow columns: the year is left out when it is this one."""
    if time is None:
        return ""
    this_year = time.astimezone().year == datetime.now().astimezone().year
    return time.astimezone().strftime("%m-%d %H:%M" if this_year else "%Y-%m-%d %H:%M")


def duration(milliseconds: int | None, *, sign: str = "") -> str:
    if milliseconds is None:
        return ""
    if milliseconds < 1_000:
        return f"{sign}{milliseconds} ms"
    if milliseconds < 59_950:
        return f"{sign}{milliseconds / 1_000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours_of_day = divmod(hours, 24)
    if days:
        return f"{sign}{days}d{hours_of_day:02}h"
    return f"{sign}{hours}h{minutes:02}m" if hours else f"{sign}{minutes}m{seconds:02}s"


def offset(milliseconds: int | None) -> str:
    """How long after the beginning, to the second also after days: what follows must be told apart."""
    if milliseconds is None or milliseconds < 3_600_000:
        return duration(milliseconds, sign="+")
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"+{f'{days}d' if days else ''}{hours:0{2 if days else 1}}h{minutes:02}m{seconds:02}s"


def position_text(position: int) -> str:
    return f"position {position}" if position else "position 0, before the first event"


def count(number: int) -> str:
    return str(number) if number else ""


def size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def problem(tenant_id: str, what: str, fix: str) -> Text:
    return Text.assemble((tenant_id, "red"), f": {plain(what)}", (f"\n  {plain(fix)}", "bold"))


def usage_cells(usage: dict[str, Any] | None) -> tuple[str, str]:
    """What a tenant's bodies take, and how often a stored byte is used."""
    return ("", "") if usage is None else (size(usage["stored_bytes"]), f"{usage['dedup_ratio']:.2f}x")


def first_line(text: str) -> str:
    return plain(text.splitlines()[0]) if text else ""


def is_digest(text: str) -> bool:
    """Of those the first twelve digits are shown; `--json` has all."""
    return _DIGEST.fullmatch(text) is not None


def fitted(text: str, cells: int) -> str:
    """Cut to so many cells of a terminal: of some scripts a character takes two."""
    return text if cell_len(text) <= cells else f"{set_cell_size(text, cells - 1).rstrip()}…"


def plain(text: str) -> str:
    """Without what could steer the terminal: messages and bodies are free text."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)

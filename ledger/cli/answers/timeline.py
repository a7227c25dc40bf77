"""A timeline as a chart and a table, or entry by entry."""

from rich.console import Group, RenderableType
from rich.text import Text

from ledger.cli.answers.chart import chart
from ledger.cli.render import duration, first_line, local_time, status_text, table
from projections.audit import Timeline, TimelineEntry

EVENT_STYLES = {
    "step.failed": "red",
    "run.failed": "bold red",
    "step.retrying": "yellow",
    "step.lost": "magenta",
    "repair.applied": "blue",
    "step.succeeded": "green",
    "run.succeeded": "bold green",
    "artifact.stored": "dim",
}


def timeline_view(found: Timeline, width: int, *, with_chart: bool = True) -> RenderableType:
    head = Text.assemble(
        (found.run_id, "bold"),
        "  ",
        status_text(found.status),
        f"  {found.pipeline or ''}  ",
        (_pack_of(found), "dim"),
        f"{local_time(found.started_at)}  ",
        duration(found.duration_ms),
    )
    parts: list[RenderableType] = [head]
    if with_chart and found.attempts:
        parts += [Text(), *chart(found, width), Text()]
    made = table("#pos", "#at", "event", "step", "#try", "#took", "by", "what")
    for entry in found.entries:
        made.add_row(
            str(entry.position),
            duration(entry.since_start_ms, sign="+"),
            Text(entry.event_type, style=EVENT_STYLES.get(entry.event_type, "")),
            Text(entry.step_id or ""),
            "" if entry.attempt is None else str(entry.attempt),
            duration(entry.duration_ms),
            Text(entry.actor or "", style="dim"),
            what(entry),
        )
    return Group(*parts, made if found.entries else Text("nothing of that kind", style="dim"))


def _pack_of(found: Timeline) -> str:
    """Empty where no start is recorded, or it was erased."""
    if found.prompt_pack_id is None:
        return ""
    digest = (found.prompt_pack_digest or "")[:12]
    return f"pack {found.prompt_pack_id} v{found.prompt_pack_version}  digest {digest}  "


def entry_line(entry: TimelineEntry) -> Text:
    """One line, for entries that are printed as they come."""
    step = "" if entry.step_id is None else f"{entry.step_id}#{entry.attempt or 1}"
    return Text.assemble(
        f"{entry.position:>7}  {local_time(entry.recorded_at)}  ",
        (f"{entry.event_type:<16}", EVENT_STYLES.get(entry.event_type, "")),
        f"  {step:<20} {duration(entry.duration_ms):>8}  ",
        (f"{entry.actor}  " if entry.actor else "", "dim"),
        what(entry),
    )


def pack_text(entry: TimelineEntry) -> str:
    digest = (entry.prompt_pack_digest or "")[:12]
    return f"pack {entry.prompt_pack_id} v{entry.prompt_pack_version} {digest}"


def what(entry: TimelineEntry) -> Text:
    said = Text(first_line(entry.summary))
    if entry.prompt_pack_id:
        said.append("  " if said else "")
        said.append(pack_text(entry), style="dim")
    if entry.waited_ms:
        said.append(f"  waited {duration(entry.waited_ms)}", style="yellow")
    for anomaly in entry.anomalies:
        said.append(f"  ! {anomaly.code}: {anomaly.message}", style="magenta")
    return said

"""A timeline as a chart and a table, or entry by entry."""

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ledger.cli.answers.chart import chart
from ledger.cli.render import duration, first_line, fitted, local_time, offset, status_text
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
_HEADERS = ("#pos", "#ver", "#at", "event", "step", "#try", "#took", "by")
_EVENT, _STEP, _BY = (_HEADERS.index(header) for header in ("event", "step", "by"))
_NAME_CELLS = 28
"""Of the names of steps and actors, where all of them would leave no room for what happened."""
_WHAT_CELLS_MIN = 36
_ALIGNED_CELLS_MIN = 60


def timeline_view(found: Timeline, width: int, *, with_chart: bool = True) -> RenderableType:
    began = found.started_at or next((entry.timestamp for entry in found.entries), None)
    head = (
        Text(found.run_id, "bold"),
        status_text(found.status),
        Text(found.pipeline or ""),
        Text(_pack_of(found), "dim"),
        Text(local_time(began)),
        Text(duration(found.duration_ms)),
    )
    parts: list[RenderableType] = [*_side_by_side(head, width)]
    if with_chart and (drawn := chart(found, width)):
        parts += [Text(), *drawn, Text()]
    if not found.entries:
        return Group(*parts, Text("nothing of that kind", style="dim"))
    return Group(*parts, *_entries(found.entries, width))


def _side_by_side(parts: Iterable[Text], width: int) -> list[Text]:
    """Those that say anything, whole: a time is not cut in two."""
    lines: list[Text] = []
    for part in filter(None, parts):
        if lines and lines[-1].cell_len + 2 + part.cell_len <= width:
            lines[-1].append("  ").append_text(part)
        else:
            lines.append(part)
    return lines


def _entries(entries: Sequence[TimelineEntry], width: int) -> Iterator[RenderableType]:
    """A line each. On a terminal too narrow for that, what happened stands below when, where and by whom."""
    rows = [_cells(entry) for entry in entries]
    if _cells_left(rows, width) < _WHAT_CELLS_MIN:
        for row in rows:
            row[_STEP], row[_BY] = fitted(row[_STEP], _NAME_CELLS), fitted(row[_BY], _NAME_CELLS)
    is_narrow = _cells_left(rows, width) < _WHAT_CELLS_MIN
    widths = _widths(rows)
    if not is_narrow:
        headers = [header.removeprefix("#") for header in _HEADERS]
        yield _line(headers, widths, "bold dim").append("what")
    for entry, row in zip(entries, rows, strict=True):
        if is_narrow:
            yield from _stacked(entry, row, widths, width)
        else:
            style = EVENT_STYLES.get(entry.event_type, "")
            yield _beside(_line(row, widths, event_style=style), what(entry), width)


def _cells(entry: TimelineEntry) -> list[str]:
    return [
        str(entry.position),
        f"v{entry.version}",
        offset(entry.since_start_ms),
        entry.event_type,
        entry.step_id or "",
        "" if entry.attempt is None else str(entry.attempt),
        duration(entry.duration_ms),
        entry.actor or "",
    ]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    headers = [header.removeprefix("#") for header in _HEADERS]
    return [max(map(cell_len, column)) for column in zip(headers, *rows, strict=True)]


def _cells_left(rows: Sequence[Sequence[str]], width: int) -> int:
    return width - sum(_widths(rows)) - len(_HEADERS)


def _line(row: Sequence[str], widths: Sequence[int], style: str = "", event_style: str = "") -> Text:
    line = Text(style=style)
    for name, cell, cells in zip(_HEADERS, row, widths, strict=True):
        space = " " * (cells - cell_len(cell))
        styled = {"event": event_style, "by": "dim"}.get(name, "")
        line.append(f"{space}{cell} " if name.startswith("#") else f"{cell}{space} ", styled)
    return line


def _beside(line: Text, said: Text, width: int) -> RenderableType:
    if line.cell_len + said.cell_len <= width:
        line.append_text(said).rstrip()
        return line
    beside = Table.grid()
    beside.add_column(no_wrap=True, width=line.cell_len)
    beside.add_column(overflow="fold")
    beside.add_row(line, said)
    return beside


def _stacked(
    entry: TimelineEntry, row: Sequence[str], widths: Sequence[int], width: int
) -> Iterator[RenderableType]:
    when = "  ".join(
        f"{cell:>{cells if width >= _ALIGNED_CELLS_MIN else 0}}"
        for cell, cells in zip(row[:_EVENT], widths, strict=False)
    )
    took = f"  took {duration(entry.duration_ms)}" if entry.duration_ms is not None else ""
    by = f"  by {row[_BY]}" if entry.actor else ""
    yield Text.assemble(
        f"{when}  ",
        (entry.event_type, EVENT_STYLES.get(entry.event_type, "")),
        f"  {_place(row[_STEP], entry)}" if entry.step_id else "",
        f"{took}{by}",
    )
    if said := what(entry):
        yield Padding(said, (0, 0, 0, 4), expand=False)


def _place(step: str, entry: TimelineEntry) -> str:
    """A body may have been stored, or repaired, under no attempt: then none is named."""
    return step if entry.attempt is None else f"{step}#{entry.attempt}"


def _pack_of(found: Timeline) -> str:
    """Empty where no start is recorded, or it was erased."""
    if found.prompt_pack_id is None:
        return ""
    digest = (found.prompt_pack_digest or "")[:12]
    return f"pack {found.prompt_pack_id} v{found.prompt_pack_version}  digest {digest}"


def entry_line(entry: TimelineEntry) -> Text:
    """One line, for entries that are printed as they come."""
    step = "" if entry.step_id is None else _place(entry.step_id, entry)
    return Text.assemble(
        f"{entry.position:>7}  {local_time(entry.recorded_at)}  ",
        (f"{entry.event_type:<16}", EVENT_STYLES.get(entry.event_type, "")),
        f" v{entry.version:<4} {step:<20} {duration(entry.duration_ms):>8}  ",
        (f"{entry.actor}  " if entry.actor else "", "dim"),
        what(entry),
    )


def pack_text(entry: TimelineEntry) -> str:
    digest = (entry.prompt_pack_digest or "")[:12]
    return f"pack {entry.prompt_pack_id} v{entry.prompt_pack_version} {digest}"


def what(entry: TimelineEntry) -> Text:
    said: list[tuple[str, str]] = [(first_line(entry.summary), "")]
    if entry.prompt_pack_id:
        said.append((pack_text(entry), "dim"))
    if entry.waited_ms:
        said.append((f"waited {duration(entry.waited_ms)}", "yellow"))
    said += [(f"! {odd.code}: {odd.message}", "magenta") for odd in entry.anomalies]
    return Text("  ").join(Text(text, style) for text, style in said if text)

"""A run's state, and listings, as of a point."""

from datetime import datetime
from typing import Any

import orjson
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from ledger.cli.render import first_line, local_time, position_text, status_text, table
from projections.audit import Replay, StateAsOf, TableAsOf

CELL_CHARS_MAX = 60


def state_view(state: StateAsOf) -> RenderableType:
    facts = table("", "")
    facts.show_header = False
    facts.add_row("run", Text.assemble(state.run_id, "  ", status_text(state.status)))
    as_of = f"position {state.position}, version {state.version}, recorded {local_time(state.recorded_at)}"
    facts.add_row("as of", as_of)
    facts.add_row("current step", Text(state.current_step or "none"))
    facts.add_row("config", Text(_json(state.config)))
    facts.add_row("metadata", Text(_json(state.metadata)))
    outputs = table("output", "digest", "#bytes", "path")
    for key, ref in state.step_outputs.items():
        outputs.add_row(Text(key), ref.digest[:12], str(ref.size_bytes), Text(ref.path))
    parts: list[RenderableType] = [facts, *([outputs] if state.step_outputs else [])]
    if state.errors:
        errors = table("error in", "#try", "category", "may retry", "message")
        for error in state.errors:
            errors.add_row(
                Text(error.step_id),
                str(error.attempt),
                error.category.value,
                "yes" if error.is_retryable() else "no",
                Text(first_line(error.message), style="red"),
            )
        parts.append(errors)
    for report in state.validation_reports:
        issues = ", ".join(issue.code for issue in report.issues)
        verdict = Text("passed", style="green") if report.passed else Text(f"refused: {issues}", style="red")
        parts.append(Text.assemble((f"checked by {report.validator}: ", "bold dim"), verdict))
    if state.erased:
        erased = table("#pos", "erased", "step", "when", "by", "what")
        for found in state.erased:
            erased.add_row(
                str(found.position),
                found.event_type,
                Text(found.step_id or ""),
                local_time(found.erased_at),
                Text(found.erased_by or ""),
                Text(found.erased_reason or ""),
            )
        parts.append(erased)
    return Group(*parts)


def rows_view(found: TableAsOf, width: int) -> RenderableType:
    """As many columns as fit; JSON and columns in which nothing stands are left out."""
    title = f"{found.table} as of {position_text(found.position)}"
    if not found.rows:
        return Text(f"{title}: no rows")
    shown: dict[str, list[str]] = {}
    for name in found.columns:
        values = [row[name] for row in found.rows]
        if any(isinstance(value, dict | list) for value in values) or all(value is None for value in values):
            continue
        cells = [_cell(value) for value in values]
        width -= max(map(cell_len, (name, *cells))) + 1
        if width < 0:
            break
        shown[name] = cells
    made = table(*shown, title=title)
    for cells_of_row in zip(*shown.values(), strict=True):
        made.add_row(*map(Text, cells_of_row))
    notes = ["--json has every column"]
    if found.more:
        notes.append(f"these are the first {len(found.rows)} rows, --limit gives more")
    return Group(made, Text("; ".join(notes), style="dim"))


def replay_view(found: Replay) -> RenderableType:
    lines = [
        Text(f"{found.run_id} as of position {found.position}, {local_time(found.recorded_at)}", "bold"),
        Text(f"state, timeline, manifest and {len(found.bodies)} bodies in {found.folder}"),
    ]
    for body in found.bodies:
        if body.status != "written":
            lines.append(Text(f"{body.status}: {body.path} {body.digest}", style="red"))
    return Group(*lines)


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode() if value else "none"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = local_time(value) if isinstance(value, datetime) else first_line(str(value))
    return text if len(text) <= CELL_CHARS_MAX else f"{text[:CELL_CHARS_MAX]}…"

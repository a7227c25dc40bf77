"""Answers as tables for people. Times are shown in the reader's zone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ledger.contract.artifact_ref import ArtifactRef
from ledger.contract.state import GraphState
from projections.audit.erasures import Erasure
from projections.audit.timeline import Timeline, TimelineEntry
from projections.rows import RunRow
from projections.verify import VerifyReport

STATUS_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "not_started": "dim",
}
WRAPPED = frozenset({"error", "what", "message", "path", "", "name"})
_EVENT_STYLES = {
    "step.failed": "red",
    "run.failed": "bold red",
    "step.retrying": "yellow",
    "step.lost": "magenta",
    "repair.applied": "blue",
    "step.succeeded": "green",
    "run.succeeded": "bold green",
    "artifact.stored": "dim",
}


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
            Text(_first_line(run.error_message or ""), style="red"),
        )
    return made


def timeline_table(timeline: Timeline) -> RenderableType:
    head = Text.assemble(
        (timeline.run_id, "bold"),
        "  ",
        status_text(timeline.status),
        f"  {timeline.pipeline or ''}  ",
        (f"pack {timeline.prompt_pack_id} v{timeline.prompt_pack_version}  ", "dim"),
        (f"digest {(timeline.prompt_pack_digest or '')[:12]}  ", "dim"),
        duration(timeline.duration_ms),
    )
    made = table("#pos", "#at", "event", "step", "#try", "#took", "what")
    for entry in timeline.entries:
        made.add_row(
            str(entry.position),
            duration(entry.since_start_ms, sign="+"),
            Text(entry.event_type, style=_EVENT_STYLES.get(entry.event_type, "")),
            Text(entry.step_id or ""),
            "" if entry.attempt is None else str(entry.attempt),
            duration(entry.duration_ms),
            _what(entry),
        )
    return Group(head, made)


def state_view(state: GraphState, erasures: Sequence[Erasure] = ()) -> RenderableType:
    facts = table("", "")
    facts.add_row("run", Text(state["run_id"]))
    facts.add_row("current step", Text(state["current_step"] or "none"))
    facts.add_row("config", Text(str(state["config"])))
    facts.add_row("metadata", Text(str(state["metadata"])))
    outputs = table("output", "digest", "#bytes", "path")
    for key, ref in state["step_outputs"].items():
        outputs.add_row(Text(key), ref.digest[:12], str(ref.size_bytes), Text(ref.path))
    parts: list[RenderableType] = [facts, outputs]
    if state["errors"]:
        errors = table("error in", "#try", "category", "may retry", "message")
        for error in state["errors"]:
            errors.add_row(
                Text(error.step_id),
                str(error.attempt),
                error.category.value,
                "yes" if error.is_retryable() else "no",
                Text(_first_line(error.message), style="red"),
            )
        parts.append(errors)
    for report in state["validation_reports"]:
        issues = ", ".join(issue.code for issue in report.issues)
        verdict = Text("passed", style="green") if report.passed else Text(f"refused: {issues}", style="red")
        parts.append(Text.assemble((f"{report.validator} ", "bold dim"), verdict))
    if erasures:
        erased = table("#pos", "erased", "step", "when", "by", "what")
        for found in erasures:
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


def state_json(state: GraphState, erasures: Sequence[Erasure] = ()) -> dict[str, Any]:
    """GraphState with its models as JSON values; and, where payloads were erased, which ones."""
    erased = {"erased": [found.model_dump(mode="json") for found in erasures]} if erasures else {}
    return {
        **erased,
        **state,
        "step_outputs": {key: ref_json(ref) for key, ref in state["step_outputs"].items()},
        "validation_reports": [report.model_dump(mode="json") for report in state["validation_reports"]],
        "errors": [error.model_dump(mode="json") for error in state["errors"]],
    }


def ref_json(ref: ArtifactRef) -> dict[str, Any]:
    return ref.model_dump(mode="json")


def local_time(time: datetime | None) -> str:
    return "" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


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
    seconds = milliseconds / 1_000
    if seconds < 60:
        return f"{sign}{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}h{minutes:02}m" if hours else f"{sign}{minutes}m{rest:02}s"


def count(number: int) -> str:
    return str(number) if number else ""


def size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def usage_cells(usage: dict[str, Any] | None) -> tuple[str, str]:
    """What a tenant's bodies take, and how often a stored byte is used."""
    return ("", "") if usage is None else (size(usage["stored_bytes"]), f"{usage['dedup_ratio']:.2f}x")


def _what(entry: TimelineEntry) -> Text:
    what = Text(_first_line(entry.summary))
    for anomaly in entry.anomalies:
        what.append(f"  ! {anomaly.code}: {anomaly.message}", style="magenta")
    return what


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""

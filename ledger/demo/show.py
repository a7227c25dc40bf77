"""What the demo prints. Every number is read from the ledger or measured; nothing is made up."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ledger.composition import Ledger
from ledger.contract import ArtifactRef, GraphState, RecordedEvent
from ledger.contract.events import EventType
from ledger.demo.session import Session
from ledger.demo.texts import FILES_MAX, Texts
from ledger.tenant import Tenant
from projections import RebuildReport, VerifyReport
from projections.audit import Timeline, TimelineEntry
from projections.rows import RunRow

RUNS_SHOWN_MAX = 12
REPAIRS_SHOWN_MAX = 3
FAILURES_SHOWN_MAX = 3
DIGEST_CHARS = 8
RULE_CHARS_MAX = 100
VALUE_MARGIN_CHARS = 18  # indent, sign and digest before a value
NOT_SHOWN = frozenset({"artifact.stored", "step.started"})
STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "run.started": "bold",
    "run.succeeded": "bold green",
    "run.failed": "bold red",
    "step.succeeded": "green",
    "step.failed": "red",
    "step.retrying": "yellow",
    "repair.applied": "blue",
}


def opening(console: Console, ledger: Ledger, texts: Texts) -> None:
    console.print(Text.assemble(("daicho demo", "bold"), "  every attempt kept, every table rebuildable"))
    _line(console, f"tenant demo · events in {ledger.server.name}")
    _line(console, f"bodies in {ledger.blobs.describe()}")
    if texts.left_out:
        _line(console, f"the first {FILES_MAX} files are taken, {texts.left_out} more are left alone")


def runs(console: Console, session: Session, rows: Sequence[RunRow], at_once: int) -> None:
    pipeline = "read → keywords → outline → draft → validate → repair → render"
    _head(console, f"{_count(len(rows), 'file')}, up to {at_once} at once: {pipeline}")
    made = _table("run", "", "#took", "#tries", "#retries", "#repairs", "#bodies")
    for row in _worth_showing(rows):
        made.add_row(
            Text(row.run_id, no_wrap=True),
            Text(row.status, STYLES.get(row.status, "")),
            _took(row.duration_ms),
            str(row.attempts),
            Text(str(row.retries or "·"), "yellow" if row.retries else "dim"),
            Text(str(row.repairs or "·"), "blue" if row.repairs else "dim"),
            str(row.artifacts),
        )
    console.print(_inset(made))
    if len(rows) > RUNS_SHOWN_MAX:
        _line(console, f"… and {len(rows) - RUNS_SHOWN_MAX} more")
    for row in [row for row in rows if row.error_message][:FAILURES_SHOWN_MAX]:
        place = f"{row.run_id}: {row.failing_step or 'run'}, {row.error_category}"
        _cut_line(console, Text.assemble((f"  {place}: ", "red"), _first_line(row.error_message or "")))
    events = sum(row.last_version for row in rows)
    _line(
        console,
        f"{events:,} events and {_count(sum(row.artifacts for row in rows), 'body', 'bodies')} made durable "
        f"in {session.seconds:.2f} s ({events / session.seconds:,.0f} events/s, the work included)",
    )
    _line(
        console,
        f"Retries: the keyword service starts cold; it reset {_count(session.resets, 'connection')}.",
    )
    _line(
        console,
        f"Prompts of {session.pack.pack_id} v{session.pack.version} ({_short(session.pack.digest)}) were "
        "rendered and stored; none was sent to a model.",
    )


def timeline(console: Console, found: Timeline, events: Mapping[int, RecordedEvent]) -> None:
    _head(console, f"What happened in {found.run_id}")
    made = _table("#pos", "#at", "event", "step", "#try", "#took", "what")
    for entry in found.entries:
        if entry.event_type in NOT_SHOWN:
            continue
        made.add_row(
            str(entry.position),
            _took(entry.since_start_ms),
            Text(entry.event_type, STYLES.get(entry.event_type, "")),
            entry.step_id or "",
            str(entry.attempt or ""),
            _took(entry.duration_ms),
            _what(entry, events[entry.position].payload or {}),
        )
    console.print(_inset(made))
    hidden = [entry.event_type for entry in found.entries if entry.event_type in NOT_SHOWN]
    named = " and ".join(f"{hidden.count(name)} {name}" for name in sorted(set(hidden)))
    _line(console, f"{named} not shown")


async def repairs(console: Console, tenant: Tenant, events: Sequence[RecordedEvent]) -> None:
    """What some of the repairs changed, read back from the two stored bodies of each."""
    if not events:
        return
    _head(console, "What the repairs changed, from the bodies before and after")
    for event in _readable_first(events):
        payload = event.payload or {}
        first, *others = payload["issues"]
        more = f" and {len(others)} more" if others else ""
        issue = f"{first['code']}: {first['message']}{more}"
        _cut_line(console, Text.assemble((f"  {payload['kind']} ", "blue"), (f"for {issue}", "dim")))
        old, new = await _body(tenant, payload["before"]), await _body(tenant, payload["after"])
        changed = next(name for name in old if old[name] != new[name])
        for sign, style, digest, article in (
            ("-", "red", payload["before"]["digest"], old),
            ("+", "green", payload["after"]["digest"], new),
        ):
            value = _shortened(_value(article[changed]), console.width - VALUE_MARGIN_CHARS)
            _cut_line(console, Text.assemble((f"    {sign} {_short(digest)}  ", style), value))
    if len(events) > REPAIRS_SHOWN_MAX:
        _line(console, f"… and {_count(len(events) - REPAIRS_SHOWN_MAX, 'repair')} more")


def rebuilt(console: Console, live: VerifyReport, rebuild: RebuildReport, fresh: VerifyReport) -> bool:
    """Prints whether the tables filled live, those rebuilt and a fresh fold are equal; returns it."""
    _head(console, "Every table folded again from the events, beside the one in use, and put in its place")
    same_point = live.position == rebuild.position
    made = _table("table", "#rows", "filled live", "rebuilt", "against a fresh fold")
    for name, digest in rebuild.digests.items():
        equal = fresh.tables[name].equal and live.tables[name].equal
        made.add_row(
            name,
            f"{rebuild.rows[name]:,}",
            _short(live.tables[name].live_digest),
            _short(digest),
            Text("equal", "green") if equal else Text("DIFFERENT", "bold red"),
        )
    console.print(_inset(made))
    rate = rebuild.events / max(rebuild.seconds, 0.001)
    _line(
        console,
        f"{rebuild.events:,} events folded in {rebuild.seconds:.3f} s ({rate:,.0f} events/s); "
        f"verified at position {fresh.position} in {fresh.seconds:.3f} s",
    )
    unchanged = all(live.tables[name].live_digest == digest for name, digest in rebuild.digests.items())
    if not same_point:
        _line(console, "others recorded events meanwhile, so the first two columns are of different points")
    return live.ok and fresh.ok and (unchanged or not same_point)


def earlier(console: Console, point: RecordedEvent, then: GraphState, now: GraphState) -> None:
    _head(console, f"The same run replayed to position {point.position}, just after its {point.event_type}")
    made = _table("state", f"at position {point.position}", "now")
    made.add_row("current step", then["current_step"] or "none", now["current_step"] or "none")
    for name, ref in now["step_outputs"].items():
        made.add_row(f"output of {name}", _ref(then["step_outputs"].get(name)), _ref(ref))
    made.add_row("reports", _reports(then), _reports(now))
    made.add_row("errors kept", _errors(then), _errors(now))
    console.print(_inset(made))


def what_next(console: Console, run: RunRow, seconds: float) -> None:
    _head(console, f"Done in {seconds:.1f} s. Try next")
    middle = (run.first_position + run.last_position) // 2
    daicho = _as_called()
    commands = (
        (f"{daicho} runs -t demo", "all runs of the tenant"),
        (f"{daicho} timeline -t demo {run.run_id}", "with every event"),
        (f"{daicho} state -t demo {run.run_id} --at {middle}", "any point in between"),
        (f"{daicho} verify -t demo", "tables against events"),
        (f"{daicho} rebuild -t demo", "fold again, exchange"),
    )
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(no_wrap=True)
    made.add_column(overflow="ellipsis")
    for command, why in commands:
        made.add_row(Text(command, "bold"), _one_line(why, "dim"))
    console.print(_inset(made))


def _as_called() -> str:
    """`daicho` where a shell would find it, else the path it was started by: `make demo` has it in .venv."""
    called = sys.argv[0]
    if Path(called).name != "daicho" or shutil.which("daicho") == called:
        return "daicho"
    return os.path.relpath(called)


def _what(entry: TimelineEntry, payload: Mapping[str, Any]) -> Text:
    match entry.event_type:
        case EventType.STEP_SUCCEEDED if refused := _refused(payload):
            return _one_line(f"refused: {_tally(refused)}", "yellow")
        case EventType.STEP_SUCCEEDED:
            outputs = payload.get("outputs", {}).values()
            return _one_line(", ".join(_ref(ArtifactRef.model_validate(ref)) for ref in outputs))
        case EventType.STEP_FAILED | EventType.RUN_FAILED:
            return _one_line(_first_line(entry.summary), "red")
        case EventType.STEP_RETRYING:
            return _one_line(f"attempt {payload.get('previous_attempt')} was retryable", "yellow")
        case EventType.REPAIR_APPLIED:
            return _one_line(f"{payload['kind']}: {payload.get('note', '')}", "blue")
        case EventType.RUN_SUCCEEDED:
            return _one_line("outputs " + ", ".join(sorted(payload.get("outputs", {}))))
        case _:
            return _one_line(_first_line(entry.summary))


def _refused(payload: Mapping[str, Any]) -> list[str]:
    """The codes of what validators refused, unless their last word in this step was a pass."""
    last = {report["validator"]: report for report in payload.get("validation_reports", ())}
    return [issue["code"] for report in last.values() for issue in report["issues"]]


def _readable_first(events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
    """Three at most, those of short texts before those of whole sections, in their order."""

    def is_long(event: RecordedEvent) -> bool:
        return "section" in (event.payload or {})["kind"] or "heading" in (event.payload or {})["kind"]

    return sorted(sorted(events, key=is_long)[:REPAIRS_SHOWN_MAX], key=lambda event: event.position)


async def _body(tenant: Tenant, ref: Mapping[str, Any]) -> Any:
    return orjson.loads(await tenant.artifacts.get(ArtifactRef.model_validate(ref)))


def _worth_showing(rows: Sequence[RunRow]) -> list[RunRow]:
    """The first twelve, failed ones before others, in the order of the texts."""
    ordered = sorted(rows, key=lambda row: row.status == "succeeded")[:RUNS_SHOWN_MAX]
    return [row for row in rows if row in ordered]


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value and isinstance(value[0], dict):
        named = (f"{section['heading'][:20]} ({len(section['body']):,})" for section in value)
        return f"{len(value)}, with their characters: " + ", ".join(named)
    return f"{len(value)}: " + ", ".join(value)


def _shortened(text: str, chars_max: int) -> str:
    """Both ends of a long text: repairs mostly change the end."""
    if len(text) <= chars_max:
        return text
    head = chars_max // 2
    return f"{text[:head]} … {text[head + 3 - chars_max :]}"


def _tally(codes: Sequence[str]) -> str:
    counted = {code: codes.count(code) for code in codes}
    return ", ".join(code if count == 1 else f"{count} {code}" for code, count in counted.items())


def _reports(state: GraphState) -> str:
    found = state["validation_reports"]
    refused = sum(not report.passed for report in found)
    return f"{len(found) - refused} passed, {refused} refused" if found else "·"


def _errors(state: GraphState) -> str:
    found = state["errors"]
    return ", ".join(f"{error.step_id} try {error.attempt}: {error.category.value}" for error in found) or "·"


def _ref(ref: ArtifactRef | None) -> str:
    return "·" if ref is None else f"{_short(ref.digest)} ({_size(ref.size_bytes)})"


def _size(size_bytes: int) -> str:
    return f"{size_bytes} B" if size_bytes < 1_000 else f"{size_bytes / 1_000:.1f} kB"


def _short(digest: str) -> str:
    return digest[:DIGEST_CHARS]


def _took(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds} ms" if milliseconds < 10_000 else f"{milliseconds / 1_000:.1f} s"


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def _table(*headers: str) -> Table:
    made = Table(box=None, header_style="dim", pad_edge=False)
    for header in headers:
        is_number = header.startswith("#")
        side: Literal["left", "right"] = "right" if is_number else "left"
        made.add_column(header.removeprefix("#"), justify=side, overflow="ellipsis")
    # Where space is short the last column gives way; its cells are cut, not wrapped.
    for column in made.columns[:-1]:
        column.no_wrap = True
    return made


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style, overflow="ellipsis", no_wrap=True)


def _inset(made: Table) -> Padding:
    return Padding(made, (0, 0, 0, 2), expand=False)


def _head(console: Console, title: str) -> None:
    console.print()
    rule = Rule(Text(title, "bold cyan"), align="left", style="dim cyan")
    console.print(rule, width=min(console.width, RULE_CHARS_MAX))


def _cut_line(console: Console, text: Text) -> None:
    console.print(text, no_wrap=True, overflow="ellipsis")


def _line(console: Console, text: str) -> None:
    console.print(Padding(Text(text, "dim"), (0, 0, 0, 2), expand=False))

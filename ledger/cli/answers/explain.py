"""One step explained, attempt by attempt."""

from collections.abc import Iterable, Iterator

import orjson
from rich.console import Group, RenderableType
from rich.text import Text

from ledger.cli.answers.changes import change_lines
from ledger.cli.render import duration, first_line, local_time, plain, status_text
from projections.audit import StepExplanation
from projections.audit.answers import Reference, Report
from projections.audit.erasures import Erasure
from projections.audit.explain import AttemptExplanation, Repair

MESSAGE_LINES_MAX = 20


def explain_view(found: StepExplanation) -> RenderableType:
    digest = f"  digest {found.prompt_pack_digest[:12]}" if found.prompt_pack_digest else ""
    lines = [
        Text.assemble(
            (found.step_id, "bold"),
            "  ",
            status_text(found.status),
            f"  of run {found.run_id}  ",
            status_text(found.run_status),
        ),
        Text(f"  prompt pack {found.prompt_pack or 'unknown'}{digest}", style="dim"),
    ]
    for attempt in found.attempts:
        lines += _attempt(attempt)
    for repair in found.repairs:
        lines += _repair(repair)
    lines += [_erased(erasure) for erasure in found.erased]
    if found.waiters:
        lines.append(Text("waited for it", style="bold"))
    for waiter in found.waiters:
        waited = f", began {duration(waiter.waited_ms)} later" if waiter.waited_ms is not None else ""
        lines.append(Text(f"  {waiter.step_id} #{waiter.ordinal} read {', '.join(waiter.artifacts)}{waited}"))
    lines += [Text(f"! {odd.code}: {odd.message}", style="magenta") for odd in found.anomalies]
    return Group(*lines)


def _attempt(attempt: AttemptExplanation) -> Iterable[Text]:
    span = attempt.span
    number = "" if span.attempt == span.ordinal else f" (the engine's number {span.attempt})"
    yield Text.assemble(
        (f"attempt {span.ordinal}{number}  ", "bold"),
        status_text(span.status),
        f"  {local_time(span.started_at) or 'its start is not recorded'}  {duration(span.duration_ms)}",
    )
    for name, value in _facts(attempt):
        if value:
            yield _fact(name, value)
    yield from _error(attempt)
    if span.status == "lost":
        yield _fact("lost", _loss(attempt))
    if span.status != "succeeded":
        may = {True: "yes: ", False: "no: ", None: ""}[attempt.may_retry]
        yield _fact("retry?", f"{may}{attempt.why}")
    if attempt.will_retry is not None:
        after = f" after {duration(round(attempt.retry_delay_ms))}" if attempt.retry_delay_ms else ""
        yield Text(f"           its engine said it {'will' + after if attempt.will_retry else 'will not'}")
    for ref in attempt.inputs:
        yield _reference("read", "/".join(ref.path.rsplit("/", 2)[-2:]), ref)
    for name, ref in attempt.outputs.items():
        yield _reference("made", name, ref)
    for report in attempt.reports:
        yield from _report(report)


def _facts(attempt: AttemptExplanation) -> Iterator[tuple[str, str]]:
    span = attempt.span
    template = f"  digest {span.prompt_digest[:12]}" if span.prompt_digest else ""
    seconds = attempt.timeout_seconds
    yield "by", " on ".join(who for who in (span.actor, span.worker) if who)
    yield "model", span.model or ""
    yield "prompt", f"{span.prompt}{template}" if span.prompt else ""
    yield "waited", _waits(attempt)
    yield "allowed", duration(round(seconds * 1_000)) if seconds else ""
    yield "engine", ", ".join(f"{name} {value}" for name, value in (attempt.engine or {}).items())
    yield "usage", ", ".join(f"{name} {value}" for name, value in (attempt.usage or {}).items())
    yield "trace", attempt.traceparent or ""


def _error(attempt: AttemptExplanation) -> Iterator[Text]:
    """The whole message, as far as a screen holds it: this is where somebody reads it."""
    error = attempt.error
    if error is None:
        return
    first, *others = error.message.splitlines() or [""]
    yield _fact("error", f"{error.category.value}: {plain(first)}", "red")
    for line in others[:MESSAGE_LINES_MAX]:
        yield Text(f"           {plain(line.expandtabs(4))}", style="red")
    if len(others) > MESSAGE_LINES_MAX:
        yield Text(f"           … and {len(others) - MESSAGE_LINES_MAX} lines more", style="dim")
    if error.details:
        yield _fact("details", orjson.dumps(error.details).decode())


def _loss(attempt: AttemptExplanation) -> str:
    seen = f"last seen {local_time(attempt.last_seen_at)}" if attempt.last_seen_at else ""
    noticed = f"noticed by {attempt.lost_by}" if attempt.lost_by else "nobody said who noticed"
    return ", ".join(filter(None, (noticed, seen)))


def _report(report: Report) -> Iterator[Text]:
    codes = ", ".join(issue.code for issue in report.issues)
    verdict = ("passed", "green") if report.passed else (f"refused: {codes}", "red")
    yield Text.assemble(("  checked  ", "dim"), f"{report.validator} ", verdict)
    for issue in report.issues:
        place = f" at {issue.location}" if issue.location else ""
        yield Text(f"           {issue.code}{place}: {first_line(issue.message)}")


def _repair(repair: Repair) -> list[Text]:
    note = f" ({repair.note})" if repair.note else ""
    by = f" by {repair.actor}" if repair.actor else ""
    checked = f", for {repair.validator}" if repair.validator else ""
    lines = [
        Text.assemble(
            (f"repair {repair.kind}", "bold blue"),
            f"{by} at {local_time(repair.timestamp)}, position {repair.position}{checked}{note}",
        ),
        _reference("before", repair.before.path.rsplit("/", 1)[-1], repair.before),
        _reference("after", repair.after.path.rsplit("/", 1)[-1], repair.after),
    ]
    lines += [Text(f"  for {issue.code}: {first_line(issue.message)}") for issue in repair.issues]
    return lines if repair.change is None else [*lines, *change_lines(repair.change, "    ")]


def _erased(erasure: Erasure) -> Text:
    """What stood there nobody can tell; that something did, everybody must be told."""
    who = "no record says by whom"
    if erasure.erased_at:
        who = f"at {local_time(erasure.erased_at)} by {erasure.erased_by}: {erasure.erased_reason}"
    said = f"{erasure.event_type} at position {erasure.position} was erased, {who}"
    return Text(said, style="magenta")


def _waits(attempt: AttemptExplanation) -> str:
    span = attempt.span
    waits = [
        f"{duration(wait)} {why}"
        for wait, why in ((span.retry_wait_ms, "to be tried again"), (span.queue_ms, "for a worker"))
        if wait is not None
    ]
    return ", ".join(waits)


def _fact(name: str, value: str, style: str = "") -> Text:
    return Text.assemble((f"  {name:<9}", "dim"), (value, style))


def _reference(verb: str, name: str, ref: Reference) -> Text:
    return Text.assemble(
        (f"  {verb:<9}", "dim"), name, (f"  {ref.digest[:12]} ({ref.size_bytes} bytes)", "dim")
    )

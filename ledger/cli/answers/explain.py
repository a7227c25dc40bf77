"""One step explained, attempt by attempt."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from ledger.cli.answers.changes import change_lines
from ledger.cli.render import duration, first_line, local_time, status_text
from projections.audit import StepExplanation
from projections.audit.answers import Reference
from projections.audit.explain import AttemptExplanation, Repair


def explain_view(found: StepExplanation) -> RenderableType:
    lines = [
        Text.assemble((found.step_id, "bold"), "  ", status_text(found.status), f"  of {found.run_id}"),
        Text(f"  prompt pack {found.prompt_pack or 'unknown'}", style="dim"),
    ]
    for attempt in found.attempts:
        lines += _attempt(attempt)
    for repair in found.repairs:
        lines += _repair(repair)
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
        f"  {local_time(span.started_at)}  {duration(span.duration_ms)}",
    )
    for name, value in (
        ("by", " on ".join(who for who in (span.actor, span.worker) if who)),
        ("model", span.model or ""),
        ("prompt", span.prompt or ""),
        ("waited", _waits(attempt)),
        ("usage", ", ".join(f"{key} {value}" for key, value in (attempt.usage or {}).items())),
    ):
        if value:
            yield Text.assemble((f"  {name:<9}", "dim"), value)
    if attempt.error is not None:
        said = f"{attempt.error.category.value}: {first_line(attempt.error.message)}"
        yield Text.assemble(("  error    ", "dim"), (said, "red"))
    if span.status != "succeeded":
        may = {True: "yes: ", False: "no: ", None: ""}[attempt.may_retry]
        yield Text.assemble(("  retry?   ", "dim"), f"{may}{attempt.why}")
    if attempt.will_retry is not None:
        after = f" after {duration(round(attempt.retry_delay_ms))}" if attempt.retry_delay_ms else ""
        yield Text(f"           its engine said it {'will' + after if attempt.will_retry else 'will not'}")
    for ref in attempt.inputs:
        yield _reference("read", "/".join(ref.path.rsplit("/", 2)[-2:]), ref)
    for name, ref in attempt.outputs.items():
        yield _reference("made", name, ref)
    for report in attempt.reports:
        codes = ", ".join(issue.code for issue in report.issues)
        verdict = ("passed", "green") if report.passed else (f"refused: {codes}", "red")
        yield Text.assemble(("  checked  ", "dim"), f"{report.validator} ", verdict)


def _repair(repair: Repair) -> list[Text]:
    note = f" ({repair.note})" if repair.note else ""
    lines = [
        Text.assemble((f"repair {repair.kind}", "bold blue"), f" at position {repair.position}{note}"),
        Text(f"  {repair.before.digest[:12]} -> {repair.after.digest[:12]}"),
    ]
    lines += [Text(f"  for {issue.code}: {first_line(issue.message)}") for issue in repair.issues]
    return lines if repair.change is None else [*lines, *change_lines(repair.change, "    ")]


def _waits(attempt: AttemptExplanation) -> str:
    span = attempt.span
    waits = [
        f"{duration(wait)} {why}"
        for wait, why in ((span.retry_wait_ms, "to be tried again"), (span.queue_ms, "for a worker"))
        if wait is not None
    ]
    return ", ".join(waits)


def _reference(verb: str, name: str, ref: Reference) -> Text:
    return Text.assemble(
        (f"  {verb:<9}", "dim"), name, (f"  {ref.digest[:12]} ({ref.size_bytes} bytes)", "dim")
    )

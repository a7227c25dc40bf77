"""Found events and statistics as tables."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ledger.cli.answers.timeline import EVENT_STYLES
from ledger.cli.render import count, duration, first_line, local_time, status_text, table
from projections.audit import Statistics
from projections.audit.search import FoundEvent


def found_view(events: Sequence[FoundEvent]) -> RenderableType:
    made = table("#pos", "recorded", "event", "run", "step", "#try", "by", "what")
    for event in events:
        made.add_row(
            str(event.position),
            local_time(event.recorded_at),
            Text(event.event_type, style=EVENT_STYLES.get(event.event_type, "")),
            Text(event.run_id),
            Text(event.step_id or ""),
            "" if event.attempt is None else str(event.attempt),
            Text(event.actor or "", style="dim"),
            Text("payload erased" if event.erased else first_line(event.summary)),
        )
    return made


def statistics_view(found: Statistics) -> RenderableType:
    if not found.steps and not found.repairs:
        return Text("No attempt ended then.")
    span = f"positions {found.after + 1} to {found.upto}, from {found.source}"
    steps = table(
        "step", "#tries", "#failed", "#lost", "#may retry", "#may not", "#invalid", "#retried",
        "#p50", "#p95", "#longest", "#in all", title=f"attempts that ended in {span}",
    )  # fmt: skip
    for step in found.steps:
        steps.add_row(
            Text(step.step_id),
            str(step.attempts),
            _share(step.failed, step.attempts),
            count(step.lost),
            count(step.retryable),
            count(step.non_retryable),
            count(step.validation_fail),
            _share(step.retries, step.attempts),
            duration(step.p50_ms),
            duration(step.p95_ms),
            duration(step.max_ms),
            duration(step.total_ms),
        )
    slowest = table("slowest", "run", "#try", "status", "#took", "#pos")
    for slow in found.slowest:
        slowest.add_row(
            Text(slow.step_id),
            Text(slow.run_id),
            str(slow.ordinal),
            status_text(slow.status),
            duration(slow.duration_ms),
            str(slow.position),
        )
    parts: list[RenderableType] = [steps, Text(), slowest]
    if found.repairs:
        repairs = table("repair", "validator", "#applied", "#helped", "#did not", "#untested")
        for repair in found.repairs:
            repairs.add_row(
                Text(repair.kind),
                Text(repair.validator or ""),
                str(repair.applied),
                count(repair.helped),
                count(repair.not_helped),
                count(repair.untested),
            )
        parts += [Text(), repairs]
    return Group(*parts)


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.0%})" if part else ""

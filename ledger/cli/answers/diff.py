"""What differs between two runs, or one run at two points."""

from collections.abc import Iterable

import orjson
from rich.console import Group, RenderableType
from rich.text import Text

from ledger.cli.answers.changes import change_lines
from ledger.cli.render import first_line, is_digest, local_time
from projections.audit import RunDiff
from projections.audit.answers import Reference
from projections.audit.diff import ArtifactChange, AttemptOutcome, Side, StepDiff, StepSide


def diff_view(diff: RunDiff) -> RenderableType:
    lines = [_side("a", diff.a), _side("b", diff.b)]
    if diff.equal:
        among = "1 step" if diff.steps_equal == 1 else f"{diff.steps_equal} steps"
        return Group(*lines, Text(f"no difference in {among}", style="green"))
    for change in diff.run:
        lines.append(_change(f"  {change.field}", _value(change.a), _value(change.b)))
    lines += _artifacts("input", diff.inputs, "  ")
    for step in diff.steps:
        lines += _step(step)
    lines += _artifacts("run output", diff.outputs, "  ")
    if diff.steps_equal:
        told = "1 step does" if diff.steps_equal == 1 else f"{diff.steps_equal} steps do"
        lines.append(Text(f"{told} not differ", style="dim"))
    return Group(*lines)


def _side(name: str, side: Side) -> Text:
    at = f"position {side.position}, version {side.version}, {local_time(side.recorded_at)}"
    return Text.assemble((f"{name}  ", "bold dim"), (side.run_id, "bold"), f"  {side.status}  ", (at, "dim"))


def _step(step: StepDiff) -> list[Text]:
    title = Text.assemble((step.step_id, "bold"), (f"  {', '.join(step.differs)}", "yellow"))
    lines = [title]
    one, other = _told(step.a), _told(step.b)
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            lines.append(_change(f"  {name}", one.get(name, "·"), other.get(name, "·")))
    return [*lines, *_artifacts("output", step.outputs, "  "), *_artifacts("artifact", step.artifacts, "  ")]


def _told(side: StepSide | None) -> dict[str, str]:
    """What is compared line by line; nothing where there is no such step."""
    if side is None:
        return {}
    told = {"status": side.status, "repairs": str(side.repairs)}
    for attempt in side.attempts:
        told[f"attempt {attempt.ordinal}"] = _outcome(attempt)
    for report in side.reports:
        told[report.validator] = "passed" if report.passed else f"refused: {', '.join(report.codes)}"
    return told


def _outcome(attempt: AttemptOutcome) -> str:
    told = attempt.status
    if attempt.error_category is not None:
        told += f" {attempt.error_category}: {first_line(attempt.error_message or '')}"
    used = " ".join(name for name in (attempt.model, attempt.prompt) if name)
    return f"{told} ({used})" if used else told


def _artifacts(kind: str, changes: Iterable[ArtifactChange], indent: str) -> list[Text]:
    lines: list[Text] = []
    for change in changes:
        lines.append(_change(f"{indent}{kind} {change.name}", _ref(change.a), _ref(change.b)))
        if change.body is not None:
            lines += change_lines(change.body)
    return lines


def _change(name: str, a: str, b: str) -> Text:
    return Text.assemble(f"{name}  ", (a, "red"), " -> ", (b, "green"))


def _ref(ref: Reference | None) -> str:
    return "·" if ref is None else f"{ref.digest[:12]} ({ref.size_bytes} bytes)"


def _value(value: object) -> str:
    if isinstance(value, str):
        return value[:12] if is_digest(value) else first_line(value)
    return "·" if value is None else orjson.dumps(value).decode()

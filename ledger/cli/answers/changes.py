"""What changed inside a body: the lines of a unified diff, or JSON operations."""

from rich.text import Text

from ledger.cli.render import plain, size
from projections.audit.bodies import BodyChange, Operation

_SIGNS = {"add": ("+", "green"), "remove": ("-", "red"), "replace": ("~", "yellow")}
_TOLD = {
    "same": "the bodies are the same",
    "binary": "the bodies are neither text nor JSON",
    "too_large": "the bodies are too large to compare here",
    "missing": "a body is in the store no more",
}


def change_lines(change: BodyChange, indent: str = "      ") -> list[Text]:
    lines = [Text(f"{indent}{plain(line.expandtabs(4))}", _line_style(line)) for line in change.lines[2:]]
    lines += [_operation(operation, indent) for operation in change.operations]
    if change.hidden:
        lines.append(Text(f"{indent}… and {change.hidden} more", style="dim"))
    if told := _TOLD.get(change.kind):
        sizes = [size(count) for count in (change.before_bytes, change.after_bytes) if count is not None]
        lines.append(Text(f"{indent}{told} ({', '.join(sizes)})", style="dim"))
    return lines


def _operation(operation: Operation, indent: str) -> Text:
    sign, style = _SIGNS[operation.op]
    values = [value for value in (operation.before, operation.after) if value is not None]
    return Text(f"{indent}{sign} {operation.path or '/'}  {' -> '.join(values)}", style=style)


def _line_style(line: str) -> str:
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")

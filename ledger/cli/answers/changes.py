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
    "corrupt": "a body is NOT what its digest says",
}


def change_lines(change: BodyChange, indent: str = "      ") -> list[Text]:
    # A carriage return that is part of the change must be seen.
    shown = [line.replace("\r", "\N{SYMBOL FOR CARRIAGE RETURN}").expandtabs(4) for line in change.lines[2:]]
    lines = [Text(f"{indent}{plain(line)}", _line_style(line)) for line in shown]
    lines += [_operation(operation, indent) for operation in change.operations]
    if change.hidden:
        lines.append(Text(f"{indent}… and {change.hidden} more", style="dim"))
    if told := _TOLD.get(change.kind):
        sizes = " -> ".join(
            "none" if count is None else size(count) for count in (change.before_bytes, change.after_bytes)
        )
        lines.append(
            Text(f"{indent}{told} ({sizes})", style="bold red" if change.kind == "corrupt" else "dim")
        )
    return lines


def _operation(operation: Operation, indent: str) -> Text:
    sign, style = _SIGNS[operation.op]
    values = [value for value in (operation.before, operation.after) if value is not None]
    return Text(f"{indent}{sign} {operation.path or '/'}  {' -> '.join(values)}", style=style)


def _line_style(line: str) -> str:
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")

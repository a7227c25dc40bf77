"""Console: rich's, through which nothing that was recorded can steer the terminal."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ledger.cli.render import plain


class PlainConsole(Console):
    """What is no printable character is shown as U+FFFD, wherever it stands: names, reasons, notes and
    messages are free text, and a view that forgot one must not let it through."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text = segment.text
            if segment.control or text.isprintable() or text == "\n":
                yield segment
            else:
                yield Segment("\n".join(map(plain, text.split("\n"))), segment.style)

    def on_broken_pipe(self) -> None:
        """As wherever else it breaks; rich would exit with 1, which says that a check failed."""
        raise BrokenPipeError("the reader is gone")

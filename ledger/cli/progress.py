"""Progress of long work on standard error: a bar with rate and time left where that is a terminal, a plain
line per phase and then every few seconds where it is not."""

import sys
import time

from rich import progress

from ledger.cli.render import events
from ledger.cli.running import err

LINE_SECONDS = 5.0


class Progress:
    """`with Progress() as bar: await work(progress=bar.moved)`."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._phase = ""
        self._phase_began = self._line_at = time.monotonic()
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[count]}"),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=not self._is_terminal,
        )
        self._task: progress.TaskID | None = None

    def moved(self, phase: str, done: int, total: int) -> None:
        """`total` is 0 where nobody knows it."""
        now = time.monotonic()
        is_new = phase != self._phase
        if is_new:
            self._phase, self._phase_began = phase, now
        rate = done / max(now - self._phase_began, 0.001)
        if not self._is_terminal:
            if is_new or now - self._line_at >= LINE_SECONDS:
                self._line_at = now
                err.print(_line(phase, done, total, rate))
            return
        if self._task is None or is_new:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(phase, total=total or None, count="", rate="")
        count = f"{done:,}/{total:,}" if total else f"{done:,}" if done else ""
        shown = f"{rate:,.0f} events/s" if done else ""
        self._bar.update(self._task, completed=done, count=count, rate=shown)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.stop()


def _line(phase: str, done: int, total: int, rate: float) -> str:
    if not done:
        return f"{phase}: {events(total)}" if total else phase
    if not total:
        return f"{phase}: {events(done)}, {rate:,.0f} events/s"
    left = f", about {(total - done) / rate:.0f} s left" if total > done else ""
    return f"{phase}: {done} of {events(total)}, {rate:,.0f} events/s{left}"

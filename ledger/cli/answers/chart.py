"""A Gantt chart in text: a row per attempt, what it waited for before it, and how long it took.

outline #1  ██                              120 ms
draft   #1    ████                          340 ms
draft   #2    ····░░██████                  510 ms   (░ waited to be tried again)
"""

from datetime import datetime, timedelta

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from ledger.cli.render import duration, fitted
from projections.audit import AttemptSpan, Timeline

ROWS_MAX = 60
LABEL_CHARS_MAX = 28
LABEL_CHARS_MIN = 12
BAR_CHARS_MIN = 10
BAR_CHARS_MAX = 100
_STYLES = {"succeeded": "green", "failed": "red", "lost": "magenta", "running": "cyan"}
_BAR, _WAITED, _UNKNOWN = "█", "░", "?"


def chart(found: Timeline, width: int) -> list[Text]:
    """Lines of at most `width` characters. Attempts whose start nobody recorded are left out."""
    spans = [span for span in found.attempts if span.started_at is not None]
    if not spans:
        return []
    label_chars_max = max(LABEL_CHARS_MIN, min(LABEL_CHARS_MAX, width // 3))
    labels = {id(span): _label(span, label_chars_max) for span in spans}
    label_chars = max(map(cell_len, labels.values()))
    bar_chars = max(BAR_CHARS_MIN, min(BAR_CHARS_MAX, width - label_chars - 14))
    scale = _Scale(found, spans, bar_chars)
    lines = [
        Text.assemble(
            f"{set_cell_size(labels[id(span)], label_chars)}  ",
            scale.bar(span),
            f" {duration(span.duration_ms) or span.status:>9}",
        )
        for span in spans[:ROWS_MAX]
    ]
    if len(spans) > ROWS_MAX:
        lines.append(Text(f"… and {len(spans) - ROWS_MAX} more attempts; --step shows one step's", "dim"))
    axis = f"0{duration(scale.total_ms):>{bar_chars - 1}}"
    return [Text(f"{'':<{label_chars}}  {axis}", style="dim"), *lines]


class _Scale:
    def __init__(self, found: Timeline, spans: list[AttemptSpan], chars: int) -> None:
        self._entries = {entry.position: entry.timestamp for entry in found.entries}
        times = [time for span in spans for time in (span.started_at, self._end_of(span)) if time is not None]
        times += [time for time in (found.started_at, found.ended_at) if time is not None]
        if any(span.status == "running" for span in spans):
            # It has lasted until the last word of the run at least. Elsewhere a clock that is off, of a
            # body that was stored or a late event, must not press all attempts into one column.
            times += self._entries.values()
        self._start = min(times)
        self._total = max(max(times) - self._start, timedelta(milliseconds=1))
        self._chars = chars
        self.total_ms = self._total // timedelta(milliseconds=1)

    def bar(self, span: AttemptSpan) -> Text:
        assert span.started_at is not None
        begin = self._cell(span.started_at)
        end = (
            self._chars if span.status == "running" else self._cell(self._end_of(span) or span.started_at) + 1
        )
        waited = timedelta(milliseconds=(span.retry_wait_ms or 0) + (span.queue_ms or 0))
        waits_from = min(begin, self._cell(span.started_at - waited)) if waited else begin
        body = _UNKNOWN if span.status == "lost" else _BAR
        filled = min(max(end, begin + 1), self._chars)
        return Text.assemble(
            " " * waits_from,
            (_WAITED * (begin - waits_from), "yellow"),
            (body * (filled - begin), _STYLES.get(span.status, "")),
            " " * (self._chars - filled),
        )

    def _end_of(self, span: AttemptSpan) -> datetime | None:
        """Of a lost attempt, when somebody noticed."""
        if span.status == "lost" and span.ended_at is None:
            return self._entries.get(span.ended_position or 0)
        return span.ended_at

    def _cell(self, time: datetime) -> int:
        share = (time - self._start) / self._total
        return max(0, min(self._chars - 1, int(share * self._chars)))


def _label(span: AttemptSpan, cells: int) -> str:
    number = f" #{span.ordinal}"
    return f"{fitted(span.step_id, cells - len(number))}{number}"

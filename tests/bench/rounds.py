"""Rounds of a rebuild's bench: what each turn took, the medians of all, and ratios round by round."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    per_second: float
    cpu: float | None = None
    """Of all processes, in microseconds per event."""
    our_mb: float | None = None
    server_mb: float | None = None

    def __str__(self) -> str:
        text = f"{self.per_second:9,.0f}/s"
        if self.cpu is None:
            return text
        return (
            f"{text}, CPU {self.cpu:5.1f} us/event, memory of a process of ours {self.our_mb:.0f} MB, "
            f"of the server's {self.server_mb:.0f} MB"
        )


class Rounds:
    def __init__(self, events: int) -> None:
        self._events = events
        self._turns: dict[str, list[Turn]] = {}

    def add(self, label: str, turn: Turn) -> None:
        self._turns.setdefault(label, []).append(turn)

    def print(self) -> None:
        print(f"{self._events:,} events: medians, and the rates of all rounds")
        for label, turns in self._turns.items():
            print(
                f"{label:<44} {self._median(turns)}   {' '.join(f'{turn.per_second:,.0f}' for turn in turns)}"
            )

    def ratio(self, one: str, other: str, *, wanted: str, of: str = "rate") -> None:
        # Round by round: the machine was the same within each.
        field = "per_second" if of == "rate" else "cpu"
        pairs = zip(self._turns[one], self._turns[other], strict=True)
        ratios = [getattr(a, field) / getattr(b, field) for a, b in pairs]
        shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"{self._events:,} events, {of}: {one} / {other}: {statistics.median(ratios):.2f} "
            f"({shown}; wanted {wanted})"
        )

    def _median(self, turns: list[Turn]) -> Turn:
        def of(field: str) -> float | None:
            values = [getattr(turn, field) for turn in turns]
            return None if None in values else statistics.median(values)

        rate = of("per_second")
        assert rate is not None
        return Turn(rate, of("cpu"), of("our_mb"), of("server_mb"))

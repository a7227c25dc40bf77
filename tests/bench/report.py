"""Report: medians of several rounds, and their ratios."""

import statistics


class Report:
    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = {}
        self._latencies: dict[str, list[float]] = {}

    def add(self, label: str, per_second: float, latency_ms: float = 0.0) -> None:
        self._rates.setdefault(label, []).append(per_second)
        self._latencies.setdefault(label, []).append(latency_ms)

    def print(self, latency: str = "median ms") -> None:
        print(f"{'what':<60} {'per second':>12} {latency:>12}   rounds")
        for label, rates in self._rates.items():
            median = statistics.median(self._latencies[label])
            shown = f"{median:12.3f}" if median else " " * 12
            rounds = " ".join(f"{rate:,.0f}" for rate in rates)
            print(f"{label:<60} {statistics.median(rates):12,.0f} {shown}   {rounds}")

    def ratio(self, one: str, other: str, *, wanted: str) -> None:
        # Round by round: the machine was the same within each.
        ratios = [a / b for a, b in zip(self._rates[one], self._rates[other], strict=True)]
        print(f"{one} / {other}: {statistics.median(ratios):.2f} (wanted {wanted})")

    def latency_ratio(self, one: str, other: str, *, wanted: str, what: str = "latency") -> None:
        ratios = [a / b for a, b in zip(self._latencies[one], self._latencies[other], strict=True)]
        print(f"{what} {one} / {other}: {statistics.median(ratios):.2f} (wanted {wanted})")

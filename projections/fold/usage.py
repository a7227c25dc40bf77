"""What attempts consumed, summed up per step and run. Sums of costs are exact and per currency."""

from decimal import Context, Decimal, Inexact
from typing import Any

from projections.rows import AttemptRow, RunRow, StepRow

NO_CURRENCY = "XXX"  # ISO 4217: no currency
# A cost has at most 18 digits on either side of the point; with 60 more, 10^24 of them add up exactly.
_EXACT = Context(prec=60, traps=[Inexact])


def note_usage(attempt: AttemptRow, totals: tuple[StepRow, RunRow], usage: dict[str, Any]) -> None:
    attempt.input_tokens = usage.get("input_tokens")
    attempt.output_tokens = usage.get("output_tokens")
    attempt.cost = usage.get("cost")
    attempt.currency = usage.get("currency")
    for total in totals:
        if attempt.input_tokens is not None:
            total.input_tokens = (total.input_tokens or 0) + attempt.input_tokens
        if attempt.output_tokens is not None:
            total.output_tokens = (total.output_tokens or 0) + attempt.output_tokens
        if attempt.cost is not None:
            total.costs = _added(total.costs, attempt.currency or NO_CURRENCY, attempt.cost)


def _added(costs: Any, currency: str, cost: str) -> Any:
    before = costs or {}
    if currency not in before:
        return {**before, currency: cost}
    return {**before, currency: f"{_EXACT.add(Decimal(before[currency]), Decimal(cost)):f}"}

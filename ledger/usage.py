"""Usage: what the model calls of one attempt consumed, added up, and what that cost.

A cost is computed once, when the attempt's end is recorded, from the price that the catalogue has then;
from then on it is a fact like any other. A price that changes later changes nothing that is recorded.
"""

import asyncio
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

from ledger.control.llm import LlmCatalogue, Price
from ledger.control.llm.records import EXACT
from ledger.errors import InvalidUsage, PriceUnavailable, StoreUnavailable

PRICE_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class ModelCall:
    """What one call consumed, or several together. `cost`, where it is told, is a decimal string in
    `currency`."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: str | None = None
    currency: str | None = None

    def __post_init__(self) -> None:
        for name, tokens in (("input_tokens", self.input_tokens), ("output_tokens", self.output_tokens)):
            if tokens is not None and (type(tokens) is not int or not 0 <= tokens < 2**63):
                raise InvalidUsage(
                    f"{tokens!r} is no number of tokens", expected=f"{name}, a count", fix="Correct it"
                )

    def plus(self, other: "ModelCall") -> "ModelCall":
        """Both together. Raises InvalidUsage where they do not add up to one usage."""
        if self._kind() != other._kind():
            raise InvalidUsage(
                "The model calls of one attempt are recorded as one usage",
                expected=f"another call of the model {self.model!r} that tells {self._told()}",
                found=f"one of the model {other.model!r} that tells {other._told()}",
                fix="Make calls of another model a step of their own",
            )
        return ModelCall(
            self.model,
            _sum(self.input_tokens, other.input_tokens),
            _sum(self.output_tokens, other.output_tokens),
            _sum_of_costs(self.cost, other.cost),
            self.currency,
        )

    def payload(self) -> dict[str, Any]:
        said = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in said if value is not None}

    def payload_at(self, price: Price | None) -> dict[str, Any]:
        """With the cost at that price. Without a price, or a count it needs, no cost is told."""
        if price is None or self.cost is not None:
            return self.payload()
        cost = price.cost(self.input_tokens, self.output_tokens)
        if cost is None:
            return self.payload()
        return {**self.payload(), "cost": format(cost, "f"), "currency": price.currency}

    def _kind(self) -> tuple[object, ...]:
        return (self.model, self.currency, *self._told_fields())

    def _told(self) -> str:
        return ", ".join(self._told_fields()) or "nothing"

    def _told_fields(self) -> tuple[str, ...]:
        return tuple(name for name in self.payload() if name != "model")


async def price_within(llm: LlmCatalogue, deadline_seconds: float, model_id: str) -> Price | None:
    """What the model costs now, None where the catalogue does not say. Where that is out of reach it is
    asked again until the deadline, as an emit is sent again. Raises PriceUnavailable then."""
    problem = "no answer came"
    try:
        async with asyncio.timeout(deadline_seconds):
            while True:
                try:
                    return await llm.price(model_id)
                except StoreUnavailable as error:
                    problem = error.problem
                    await asyncio.sleep(PRICE_PAUSE_SECONDS)
    except TimeoutError:
        raise PriceUnavailable(
            f"The price of the model {model_id!r} could not be read for {deadline_seconds:g} s: {problem}",
            fix="Check the control database; what was used is recorded with the failure, its cost is not",
        ) from None


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _sum_of_costs(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return None
    try:
        with localcontext(EXACT):
            return format(Decimal(one) + Decimal(other), "f")
    except InvalidOperation:
        raise InvalidUsage(
            f"{one!r} and {other!r} cannot be added", expected="decimal strings, as '0.0031'"
        ) from None

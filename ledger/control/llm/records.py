"""What the catalogue holds. Constructing a record checks it (pydantic's ValidationError, a ValueError);
a record never holds a key, and never shows in an error what was given for one."""

import json
import os
import re
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from ledger.contract.names import Name
from ledger.errors import LlmKeyMissing

PARAMETERS_BYTES_MAX = 7 * 1024  # twice that, before and after, fits into an entry of the audit trail
TOKENS_PER_PRICE = 1_000_000
EXACT = Context(
    prec=80, traps=[Inexact, InvalidOperation]
)  # 19 digits of tokens times 18 of a price: nothing is rounded

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def _exact(value: Any) -> Any:
    if isinstance(value, float | bool):
        raise ValueError("an exact decimal, given as text or Decimal, not as a float")
    return value


def shortened(value: Decimal) -> Decimal:
    """The same number without zeros behind the point, and without an exponent."""
    return Decimal(format(value, "f").rstrip("0").rstrip(".")) if value % 1 else Decimal(int(value))


def _plain_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not value.isprintable():
        raise ValueError("an http or https URL")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a URL without user, password, query and fragment: no key stands in the catalogue")
    return value


def _variable(value: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,99}", value):
        raise ValueError("the name of an environment variable, as OPENAI_API_KEY, and never the key itself")
    return value


def _currency(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", value):
        raise ValueError("a currency code of ISO 4217, as USD")
    return value


def _capability(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", value):
        raise ValueError("a word of a-z 0-9 _ . - as tools or json")
    return value


def _line(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("printable text on one line")
    return value


def _sorted(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(value)))


def _plain_json(value: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError):
        raise ValueError("JSON: text without lone surrogates, finite numbers, lists and objects") from None
    if _NUL.search(text):
        raise ValueError("text without U+0000 (PostgreSQL does not take it)")
    if size > PARAMETERS_BYTES_MAX:
        raise ValueError(f"at most {PARAMETERS_BYTES_MAX} bytes of JSON; this is {size}")
    plain: dict[str, Any] = json.loads(text)
    return plain


Line = Annotated[str, Field(max_length=200), AfterValidator(_line)]
PricePerMillion = Annotated[
    Decimal,
    # Right behind the type: with a validator in between, some releases of pydantic count 1e12 as one digit.
    Field(ge=0, max_digits=18, decimal_places=6, allow_inf_nan=False),
    BeforeValidator(_exact),
    AfterValidator(shortened),
]
Capability = Annotated[str, AfterValidator(_capability)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def said(self) -> dict[str, Any]:
        """As JSON has it, decimals as text: what the audit trail keeps of it."""
        return self.model_dump(mode="json")


class LlmProvider(_Record):
    """`key_variable` names the environment variable that holds the provider's key, where it wants one."""

    provider_id: Name
    name: Line
    base_url: Annotated[str, Field(max_length=500), AfterValidator(_plain_url)] | None = None
    key_variable: Annotated[str, AfterValidator(_variable)] | None = None

    def key(self) -> SecretStr | None:
        """The key, read from the environment now; None where none is wanted. Raises LlmKeyMissing."""
        if self.key_variable is None:
            return None
        key = os.environ.get(self.key_variable)
        if not key:
            raise LlmKeyMissing(
                f"There is no key for the LLM provider {self.provider_id!r}",
                expected=f"it in the environment variable {self.key_variable}",
                fix="Set the variable; no other key and no other provider is used instead",
            )
        return SecretStr(key)


class Price(BaseModel):
    """Per million tokens, in `currency` (ISO 4217)."""

    model_config = ConfigDict(frozen=True)

    input_per_million: Decimal
    output_per_million: Decimal
    currency: str

    def cost(self, input_tokens: int | None, output_tokens: int | None) -> Decimal | None:
        """What that many tokens cost, exactly. None where a count that costs something is unknown."""
        with localcontext(EXACT):
            total = Decimal(0)
            for tokens, price in (
                (input_tokens, self.input_per_million),
                (output_tokens, self.output_per_million),
            ):
                if tokens is None and price:
                    return None
                total += (tokens or 0) * price
            return shortened(total / TOKENS_PER_PRICE)


class LlmModel(_Record):
    """A model as the catalogue knows it. `name` is the provider's own for it; `model_id` is what steps
    and events say. Prices are per million tokens in `currency` (ISO 4217), exact to 6 places; both and the
    currency are given, or none of them: then no cost is ever computed."""

    model_id: Name
    provider_id: Name
    name: Line
    context_window_tokens: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    price_input_per_million: PricePerMillion | None = None
    price_output_per_million: PricePerMillion | None = None
    currency: Annotated[str, AfterValidator(_currency)] | None = None
    capabilities: Annotated[tuple[Capability, ...], Field(max_length=100), AfterValidator(_sorted)] = ()

    @model_validator(mode="after")
    def _is_priced_whole(self) -> "LlmModel":
        parts = (self.price_input_per_million, self.price_output_per_million, self.currency)
        if 0 < sum(part is not None for part in parts) < 3:
            raise ValueError("a price is an input price, an output price and a currency, or none of them")
        return self

    @property
    def price(self) -> Price | None:
        if self.price_input_per_million is None:
            return None
        return Price(
            input_per_million=self.price_input_per_million,
            output_per_million=self.price_output_per_million,
            currency=self.currency,
        )


class StepLlmDefault(_Record):
    """The one model of a step, and the parameters it is called with: JSON, at most 7 KiB."""

    step_id: Name
    model_id: Name
    parameters: Annotated[dict[str, Any], AfterValidator(_plain_json)] = {}


class ResolvedLlm(_Record):
    """What a step is to use: the model, who serves it, and with which parameters."""

    step_id: Name
    model: LlmModel
    provider: LlmProvider
    parameters: dict[str, Any]

    @property
    def model_id(self) -> str:
        return self.model.model_id


ModelRef = str | LlmModel | ResolvedLlm
"""A model, named or from the catalogue."""


def model_id_of(model: ModelRef) -> str:
    if isinstance(model, LlmModel | ResolvedLlm):
        return model.model_id
    if not isinstance(model, str):
        raise TypeError(f"a model is its name or a record of the LLM catalogue, not {type(model).__name__}")
    return model

"""Canonical JSON: one form for equal values, so that equal values are one blob.

As RFC 8785 (JCS) says: no white space, keys in the order of their UTF-16 code units, numbers as
ECMAScript writes them (1.0 is 1). In one thing it is safer: an integer beyond 2^53 is written in full,
where RFC 8785 would make neighbours one number.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from pydantic import BaseModel

_INTEGERS = range(-(2**63), 2**64)


def canonical_json(value: Any) -> bytes:
    """`value` may be a pydantic model, or made of dicts, lists, tuples, text, numbers, booleans and None.

    Raises ValueError, saying where, for what JSON cannot say or readers would not agree on: NaN, infinity,
    lone surrogates, keys that are no text, integers of more than 64 bits, anything nested over 250 deep.
    """
    try:
        return orjson.dumps(_ordered(value, "value"))
    except RecursionError:
        raise ValueError("it is nested too deeply, or holds itself") from None
    except orjson.JSONEncodeError as error:
        raise ValueError(str(error)) from None


def _ordered(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if value not in _INTEGERS:
            raise ValueError(f"{where} is an integer of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value!r}, and JSON has no such number")
        return orjson.Fragment(_number(value))
    if isinstance(value, BaseModel):
        return _ordered(value.model_dump(mode="json"), where)
    if isinstance(value, Mapping):
        return {key: _ordered(value[key], f"{where}[{key!r}]") for key in _sorted_keys(value, where)}
    if isinstance(value, list | tuple):
        return [_ordered(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise ValueError(f"{where} is a {type(value).__name__}, which is no JSON value")


def _sorted_keys(mapping: Mapping[Any, Any], where: str) -> list[str]:
    for key in mapping:
        if not isinstance(key, str):
            raise ValueError(f"{where} has the key {key!r}, and keys are text")
    return sorted(mapping, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _number(value: float) -> str:
    """As ECMA-262, Number::toString, writes it: the shortest digits that read back as this double."""
    sign, digit_tuple, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    digits = "".join(map(str, digit_tuple))
    point = exponent + len(digits)  # the value is 0.digits times ten to this power
    minus = "-" if sign and value else ""
    if value == 0:
        return "0"
    if exponent >= 0 and point <= 21:
        return f"{minus}{digits}{'0' * exponent}"
    if 0 < point <= 21:
        return f"{minus}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{digits}"
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{minus}{mantissa}e{point - 1:+d}"

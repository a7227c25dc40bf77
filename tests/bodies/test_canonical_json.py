"""Equal values are equal bytes: RFC 8785, with its own examples."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ledger.bodies.canonical_json import canonical_json

# RFC 8785, appendix B: the bits of a double, and how it is written.
RFC_NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555555": "333333333.3333333",
    "becbf647612f3696": "-0.0000033333333333333333",
}


@pytest.mark.parametrize(("bits", "written"), RFC_NUMBERS.items())
def test_doubles_are_written_as_the_rfc_says(bits: str, written: str) -> None:
    [number] = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number) == written.encode()


def test_keys_are_sorted_by_utf_16_code_units_as_in_the_rfc_example() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    written = json.loads(canonical_json(dict.fromkeys(keys, 0)))
    assert list(written) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_text_is_escaped_as_in_the_rfc_example() -> None:
    assert canonical_json('\u20ac$\u000f\nA\'B"\\\\"/') == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_what_is_written_reads_back_as_an_equal_value(value: Any) -> None:
    assert json.loads(canonical_json(value), parse_int=float) == value  # to ECMAScript a number is a double


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=6), st.randoms())
def test_the_order_of_keys_and_the_kind_of_a_whole_number_change_nothing(
    value: dict[str, Any], random: Any
) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert canonical_json(dict(items)) == canonical_json(value)
    assert canonical_json([1.0, -0.0, 1e15]) == canonical_json([1, 0, 10**15]) == b"[1,0,1000000000000000]"


def test_large_integers_stay_apart() -> None:
    assert canonical_json([2**53, 2**53 + 1]) == b"[9007199254740992,9007199254740993]"


class Outline(BaseModel):
    title: str
    sections: list[str] = []


def test_a_model_is_written_as_its_fields() -> None:
    assert canonical_json(Outline(title="a")) == b'{"sections":[],"title":"a"}'
    assert canonical_json({"outline": (Outline(title="a"),)}) == b'{"outline":[{"sections":[],"title":"a"}]}'


def _nested() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [1, float("nan")]}, r"value\['a'\]\[1\] is nan"),
        (float("-inf"), "value is -inf"),
        ({"a": "\ud800"}, "surrogates"),
        ({"\ud800": 1}, "surrogates"),
        ({1: 2}, "the key 1, and keys are text"),
        (2**64, "more than 64 bits"),
        ({"when": object()}, r"value\['when'\] is a object"),
        (bytearray(b"x"), "bytearray, which is no JSON value"),
        (_nested(), "nested too deeply"),
    ],
    ids=["nan", "infinity", "surrogate", "in a key", "number key", "65 bits", "object", "bytearray", "ring"],
)
def test_what_json_cannot_say_is_refused_by_its_place(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        canonical_json(value)

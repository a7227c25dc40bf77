"""OrjsonTranscoder: the library's JSON format, byte for byte, written and read by orjson.

Differences from JSONTranscoder, all of them loud: NaN and infinity, integers beyond 64 bits, keys
that are not text, and subclasses of plain types without a transcoding of their own are refused.
"""

import math
from typing import Any

import orjson
from eventsourcing.persistence import JSONTranscoder

_AS_IT_IS = frozenset({str, int, bool, type(None)})


class OrjsonTranscoder(JSONTranscoder):
    def encode(self, obj: Any) -> bytes:
        return orjson.dumps(self._plain(obj))

    def decode(self, data: bytes) -> Any:
        decoded = orjson.loads(data)
        # An escape in the JSON text could hide the name; the library's own writers never write one.
        return self._restored(decoded) if b"_type_" in data or b"\\u" in data else decoded

    def _plain(self, obj: Any) -> Any:
        """`obj` of nothing but JSON's own types. orjson would write tuples, UUIDs and times by itself
        and lose what they were, and NaN as null."""
        kind = type(obj)
        if kind in _AS_IT_IS:
            return obj
        if kind is dict:
            return {key: self._plain(value) for key, value in obj.items()}
        if kind is list:
            return [self._plain(item) for item in obj]
        if kind is float:
            if not math.isfinite(obj):
                raise ValueError(f"{obj!r} is not a JSON number")
            return obj
        encoded = self._encode_obj(obj)
        return {"_type_": encoded["_type_"], "_data_": self._plain(encoded["_data_"])}

    def _restored(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._decode_obj({key: self._restored(item) for key, item in value.items()})
        if isinstance(value, list):
            return [self._restored(item) for item in value]
        return value

"""TableDigest: one number for all rows of a table, whatever their order.

The sum, modulo 2^256, of the sha256 of each row's canonical JSON (an array of its columns in order,
times in UTC as ISO 8601). Equal tables have equal digests on every machine.
"""

import hashlib
from typing import Any

import orjson

_MODULUS = 2**256


class TableDigest:
    __slots__ = ("rows", "total")

    def __init__(self) -> None:
        self.rows = 0
        self.total = 0

    def add(self, record: tuple[Any, ...]) -> None:
        """Takes in a row as the database holds it (`rows.to_record`)."""
        row = hashlib.sha256(orjson.dumps(record, option=orjson.OPT_UTC_Z)).digest()
        self.total = (self.total + int.from_bytes(row)) % _MODULUS
        self.rows += 1

    def hexdigest(self) -> str:
        return f"{self.total:064x}"

"""TableDigest: one number for all rows of a table, whatever their order.

The sum, modulo 2^256, of the sha256 of each row's bytes (copy_format.py, its columns in the order of the
row class). Equal tables have equal digests on every machine, and digests of parts add up to the whole's.
"""

from collections.abc import Iterable
from hashlib import sha256

_MODULUS = 2**256


class TableDigest:
    __slots__ = ("rows", "total")

    def __init__(self, rows: int = 0, total: int = 0) -> None:
        self.rows = rows
        self.total = total

    def add(self, rows: Iterable[bytes]) -> None:
        """Takes in rows, each given as its bytes."""
        from_bytes = int.from_bytes
        hashes = [from_bytes(sha256(row).digest()) for row in rows]
        self.total = (self.total + sum(hashes)) % _MODULUS
        self.rows += len(hashes)

    def remove(self, rows: Iterable[bytes]) -> None:
        """Takes out rows that were taken in before."""
        gone = TableDigest()
        gone.add(rows)
        self.total = (self.total - gone.total) % _MODULUS
        self.rows -= gone.rows

    def merge(self, other: "TableDigest") -> None:
        """Takes in all that `other` took in."""
        self.total = (self.total + other.total) % _MODULUS
        self.rows += other.rows

    def hexdigest(self) -> str:
        return f"{self.total:064x}"

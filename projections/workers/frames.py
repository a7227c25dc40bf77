"""Frames: what this process and its workers say to each other: pickled values over pipes.

    length (uint32, big-endian), then so many bytes of pickle

Both ends are the same program on the same machine, and one has started the other.
"""

import pickle  # nosec: see above
from struct import Struct
from typing import Any

from ledger.errors import InvalidProjection

LENGTH = Struct(">I")


def frame(value: object) -> bytes:
    """Raises InvalidProjection for one whose class another process would not find."""
    try:
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise cannot_be_sent(error) from error
    return LENGTH.pack(len(data)) + data


def cannot_be_sent(error: Exception) -> InvalidProjection:
    return InvalidProjection(
        f"A worker process cannot load the projection: {error}",
        expected="its class and those of its rows in a module that can be imported",
        fix="Put them into one, or use workers=0; the tables are as they were",
    )


def unframed(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 - from our own process

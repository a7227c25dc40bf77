"""Frames: what this process and its workers say to each other: pickled values over pipes.

    length (uint32, big-endian), then so many bytes of pickle

Both ends are the same program on the same machine, and one has started the other.
"""

import pickle  # nosec: see above
from struct import Struct
from typing import Any

LENGTH = Struct(">I")


def frame(value: object) -> bytes:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(data)) + data


def unframed(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 - from our own process

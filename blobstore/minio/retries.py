"""How long to wait before trying a call again: twice as long each time, and never the same as one's
neighbours.

Callers that failed together would otherwise come back together, to the server that could not bear them.
"""

from collections.abc import Callable, Iterator
from secrets import SystemRandom

ATTEMPTS_MAX = 4
FIRST_PAUSE_SECONDS = 0.1


_random = SystemRandom().random


def pauses(random: Callable[[], float] = _random) -> Iterator[float]:
    """ATTEMPTS_MAX - 1 pauses in seconds, the nth between a half and all of FIRST_PAUSE_SECONDS * 2**n.

    `random` returns numbers from [0, 1).
    """
    longest = FIRST_PAUSE_SECONDS
    for _ in range(ATTEMPTS_MAX - 1):
        yield longest * (1 + random()) / 2
        longest *= 2

"""The garbage collector, while a run is read and folded."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """For work that makes a great many objects and throws none away: the collector would look at all of them
    again and again, for a third of the time, and find nothing. Where such works overlap, the one that paused
    it lets it go on: so what others throw away waits no longer than one question takes."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

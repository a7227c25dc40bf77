"""The garbage collector, while a page of events is folded."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """For work that makes a great many objects and throws none away, and never awaits: the collector would
    look at all of them again and again, for half of the time, and find nothing."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

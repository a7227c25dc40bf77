"""Standard output as a pipe whose reader may go."""

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """Ends what is inside, and no more, as soon as the pipe that standard output is has no reader, also while
    nothing is written: `tail -f | head -1` ends with its first line, not at the second."""
    try:
        descriptor = sys.stdout.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:  # standard output is no file at all
        is_pipe = False
    if not is_pipe:
        yield
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    gone = False

    def cancel() -> None:
        nonlocal gone
        gone = True
        loop.remove_reader(descriptor)
        task.cancel()

    # The writing end of a pipe is never readable; the loop calls when it breaks.
    loop.add_reader(descriptor, cancel)
    try:
        yield
    except asyncio.CancelledError:
        if not gone or task.uncancel():
            raise
        let_go_of_output()
    except BrokenPipeError:
        let_go_of_output()
    finally:
        loop.remove_reader(descriptor)


def let_go_of_output() -> None:
    """Python flushes it once more at exit, and would complain."""
    with suppress(OSError):  # no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""What an operation tells while it runs."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


def silent(_doing: str, _done: int, _all: int) -> None:
    """For callers who do not want to know."""

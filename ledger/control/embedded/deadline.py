"""A deadline: the moment on the monotonic clock after which waiting ends."""

import time

__all__ = ["Deadline"]

_POLL_SECONDS = 0.005


class Deadline:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends = time.monotonic() + seconds

    @property
    def remaining_seconds(self) -> float:
        return max(0.0, self._ends - time.monotonic())

    def pause(self) -> bool:
        """Sleep for one poll. False, without sleeping, when the deadline has passed."""
        remaining = self.remaining_seconds
        if remaining == 0.0:
            return False
        time.sleep(min(_POLL_SECONDS, remaining))
        return True

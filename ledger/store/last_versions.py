"""LastVersions: which version each stream had when it was last appended to from here.

A hint and no more: the database's unique key refuses one that is out of date, and the append then
looks the version up. It saves that look-up for runs that are being written.
"""

from collections.abc import Iterable

STREAMS_MAX = 10_000


class LastVersions:
    """Two generations: the younger is written, and becomes the elder when it is full. So a stream that was
    used among the last STREAMS_MAX / 2 is remembered, for the price of a dictionary."""

    def __init__(self) -> None:
        self._younger: dict[str, int] = {}
        self._elder: dict[str, int] = {}

    def of(self, stream_id: str) -> int | None:
        return self._younger.get(stream_id) or self._elder.get(stream_id)

    def next_for(self, stream_ids: Iterable[str]) -> list[int]:
        """The version each of these events gets. For those of a stream that is not remembered -1, -2 …:
        the first, the second … after whatever its last is."""
        ahead: dict[str, int] = {}
        numbers = []
        for stream_id in stream_ids:
            last = ahead.get(stream_id) or self.of(stream_id) or 0
            ahead[stream_id] = number = last + 1 if last > 0 else last - 1
            numbers.append(number)
        return numbers

    def note(self, stream_ids: Iterable[str], versions: Iterable[int]) -> None:
        self._younger.update(zip(stream_ids, versions, strict=True))
        if len(self._younger) > STREAMS_MAX // 2:
            self._younger, self._elder = {}, self._younger

    def forget(self) -> None:
        """After a new connection: the database may have been restored from a backup meanwhile."""
        self._younger, self._elder = {}, {}

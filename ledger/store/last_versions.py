"""LastVersions: which version each stream had when it was last appended to from here.

A hint and no more: the database's unique key refuses one that is out of date, and the append then
looks the version up. It saves that look-up for runs that are being written.
"""

from collections import OrderedDict
from collections.abc import Iterable

from ledger.contract.events import Event, RecordedEvent

STREAMS_MAX = 10_000


class LastVersions:
    def __init__(self) -> None:
        self._versions: OrderedDict[str, int] = OrderedDict()

    def of(self, event: Event) -> int | None:
        return self._versions.get(event.run_id)

    def note(self, recorded: Iterable[RecordedEvent]) -> None:
        for event in recorded:
            self._versions[event.run_id] = event.version
            self._versions.move_to_end(event.run_id)
        while len(self._versions) > STREAMS_MAX:
            self._versions.popitem(last=False)

    def forget(self) -> None:
        """After a new connection: the database may have been restored from a backup meanwhile."""
        self._versions.clear()

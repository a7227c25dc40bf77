"""Flights: appends of new events on the wire, one sent before the one before it is answered.

flight     a call that is not answered yet. One that follows another is refused where that one was not
           recorded, so nothing is ever recorded out of order, and no version is left out
lone       a single event, on a log that nobody else appends to
new        events that are, as far as is known here, all new
contended  the same, where another process appends too: the head's lock is let go before the flush
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ledger.store import binary
from ledger.store.append import (
    SALT_BYTES,
    EncodedEvent,
    Group,
    Outcome,
    all_recorded,
    events_of,
    lone_arguments,
    new_arguments,
    salts_for,
)
from ledger.store.last_versions import LastVersions
from ledger.store.statements import load_statements
from ledger.store.wire import Row
from ledger.store.writer import Writer

Answered = Callable[[list[Outcome] | Exception], None]
_Message = Callable[[Sequence[EncodedEvent], list[int], bytes, bytes | None], tuple[bytes, ...]]
_SQL = load_statements("ledger.store", "queries.sql")


class _Told(NamedTuple):
    """What PostgreSQL answers: where the first event is, when all were recorded, and their versions where it
    looked one up."""

    position: int
    recorded_at: datetime
    versions: list[int] | None


class Way(NamedTuple):
    """A statement; its arguments for events, versions, salts and the salt of what it follows; its answer."""

    statement: str
    arguments: _Message
    read: Callable[[Row], _Told]


def _lone(
    events: Sequence[EncodedEvent], versions: list[int], salts: bytes, _: bytes | None
) -> tuple[bytes, ...]:
    return lone_arguments(events[0], versions[0] - 1 if versions[0] > 0 else None, salts)


def _new(
    events: Sequence[EncodedEvent], versions: list[int], salts: bytes, follows: bytes | None
) -> tuple[bytes, ...]:
    return (
        *new_arguments(events, versions, salts),
        binary.NULL if follows is None else binary.framed(follows),
    )


def _unfollowing(
    events: Sequence[EncodedEvent], versions: list[int], salts: bytes, _: bytes | None
) -> tuple[bytes, ...]:
    return new_arguments(events, versions, salts)


def _read_lone(row: Row) -> _Told:
    position, version, at = row
    return _Told(binary.read_int8(position), binary.read_time(at), [binary.read_int8(version)])


def _read_many(row: Row) -> _Told:
    position, at, versions = row
    looked_up = binary.read_int8s(versions) if versions else None
    return _Told(binary.read_int8(position), binary.read_time(at), looked_up)


LONE = Way(_SQL["append_one"], _lone, _read_lone)


class Ways(NamedTuple):
    """What a tenant's database has, which may be one revision behind; `may_follow` another's flight."""

    new: Way
    contended: Way
    may_follow: bool


PRESENT = Ways(
    Way(_SQL["append_new"], _new, _read_many),
    Way(_SQL["append_contended"], _unfollowing, _read_many),
    may_follow=True,
)
BEFORE_0009 = Ways(
    Way(_SQL["append_new_before_0009"], _unfollowing, _read_many),
    Way(_SQL["append_contended_before_0009"], _unfollowing, _read_many),
    may_follow=False,
)


@dataclass(slots=True)
class _Flight:
    """`looked_up` are the streams whose versions PostgreSQL tells; `salt` is the last event's."""

    way: Way
    groups: Sequence[Group]
    streams: list[str]
    versions: list[int]
    looked_up: set[str]
    salt: bytes
    answered: Answered


class Flights:
    """`acknowledged` hears of every position up to which all is recorded and durable, and how many processes,
    as far as the positions tell, append as much as this one."""

    def __init__(self, acknowledged: Callable[[int, float], None]) -> None:
        self._tell = acknowledged
        self._under_way: deque[_Flight] = deque()
        self._looked_up: Counter[str] = Counter()
        self._last_position = 0
        self.last_versions = LastVersions()
        self.ways = PRESENT
        self.is_contended = False

    def __len__(self) -> int:
        return len(self._under_way)

    def way_of(self, groups: Sequence[Group]) -> Way | None:
        """None where it cannot be sent now, because another is under way."""
        if self._under_way and (self.is_contended or not self.ways.may_follow):
            return None
        if self.is_contended:
            return self.ways.contended
        is_lone = len(groups) == 1 and len(groups[0].events) == 1 and not self._under_way
        return LONE if is_lone else self.ways.new

    def begin(self, writer: Writer, way: Way, groups: Sequence[Group], answered: Answered) -> None:
        """Sends it; its statement is prepared. `answered` hears the outcomes, or PostgreSQL's error or that
        of the lost connection."""
        events = events_of(groups)
        streams = [event.run_id for event in events]
        if self.is_contended:
            # Whoever else appends may do so to the same streams: all versions are looked up.
            self.last_versions.forget()
        versions = self.last_versions.next_for(streams)
        salts = salts_for(events)
        follows = self._under_way[-1].salt if self._under_way else None
        arguments = way.arguments(events, versions, salts, follows)
        flight = _Flight(way, groups, streams, versions, set(), salts[-SALT_BYTES:], answered)
        writer.wire.call(writer.on_wire[way.statement], arguments, self._answered)
        self._under_way.append(flight)
        self._expect(flight)

    def _expect(self, flight: _Flight) -> None:
        """The next flight counts on the versions of this one, and is recorded only after it."""
        if min(flight.versions) > 0:
            self.last_versions.note(flight.streams, flight.versions)
            return
        for stream, version in zip(flight.streams, flight.versions, strict=True):
            if version > 0:
                self.last_versions.note((stream,), (version,))
            else:
                flight.looked_up.add(stream)
        self._looked_up.update(flight.looked_up)

    def _answered(self, answer: Row | Exception) -> None:
        flight = self._under_way.popleft()
        if flight.looked_up:
            self._looked_up.subtract(flight.looked_up)
        if isinstance(answer, Exception):
            self.last_versions.forget()
            flight.answered(answer)
        else:
            flight.answered(self._recorded(flight, flight.way.read(answer)))

    def _recorded(self, flight: _Flight, told: _Told) -> list[Outcome]:
        versions = told.versions or flight.versions
        self.acknowledged(told.position, told.position + len(versions) - 1)
        for stream, version in zip(flight.streams, versions, strict=True) if flight.looked_up else ():
            # Where the next flight has it looked up too, that one's answer says what its last version is.
            if stream in flight.looked_up and not self._looked_up[stream]:
                self.last_versions.note((stream,), (version,))
        return all_recorded(flight.groups, told.position, versions, told.recorded_at)

    def acknowledged(self, first: int, last: int) -> None:
        # Where somebody else appended since our last call, the head's lock is worth sharing: the next
        # call lets go of it before its flush. Alone, that would cost a fifth and gain nothing.
        self.is_contended = self._last_position not in {0, first - 1}
        others = max(0, first - 1 - self._last_position) if self.is_contended else 0
        self._last_position = max(last, self._last_position)
        self._tell(last, 1 + others / (last - first + 1))

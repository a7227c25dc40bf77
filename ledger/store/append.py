"""Append: groups of encoded events to one call of an append function, and its answer back.

group    the events of one `emit` or `emit_many`: recorded whole or not at all
outcome  of a group: its recorded events, or the error that is that caller's alone
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import count
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from ledger.contract.events import Event, EventType, RecordedEvent
from ledger.errors import DaichoError, EventConflict, InvalidEvent, VersionConflict
from ledger.store import binary
from ledger.store.codec import encode_payload

SALT_BYTES = 16


class EncodedEvent(NamedTuple):
    """What a RecordedEvent holds after position, version and recorded_at, in the same order."""

    event_id: UUID
    event_type: EventType
    tenant_id: str
    run_id: str
    step_id: str | None
    attempt: int | None
    timestamp: datetime
    actor: str | None
    traceparent: str | None
    schema_version: int
    data: bytes


_envelope = attrgetter(*EncodedEvent._fields[:-1])


class Group(NamedTuple):
    """`expected_version` is the stream's version before the group's first event, or None."""

    events: list[EncodedEvent]
    expected_version: int | None = None


Outcome = list[RecordedEvent] | DaichoError
# What RecordedEvent._make does, without its call in Python: there is one for every event.
_new_recorded: Callable[[tuple[Any, ...]], RecordedEvent] = partial(tuple.__new__, RecordedEvent)


def encode_group(events: Sequence[Event], expected_version: int | None = None) -> Group:
    return Group([encode_event(event) for event in events], expected_version)


def encode_event(event: Event) -> EncodedEvent:
    """Raises InvalidEvent where the payload cannot be stored."""
    if event.event_type is EventType.PAYLOAD_ERASED:
        raise InvalidEvent(
            "payload.erased is recorded by the erasure itself, never emitted",
            fix="Use `tenant.erase_payload(position, by=..., reason=...)`; nothing was sent",
        )
    return EncodedEvent._make((*_envelope(event), encode_payload(event)))


def events_of(groups: Iterable[Group]) -> list[EncodedEvent]:
    return [event for group in groups for event in group.events]


def salts_for(events: Sequence[EncodedEvent]) -> bytes:
    """One after the other."""
    return os.urandom(SALT_BYTES * len(events))


def new_arguments(events: Sequence[EncodedEvent], versions: Sequence[int], salts: bytes) -> tuple[bytes, ...]:
    """The arguments of `append_events_v3` up to p_salts, in their order and PostgreSQL's binary format, one
    array per column."""
    ids, types, _, streams, steps, attempts, times, actors, traces, schemas, payloads = zip(
        *events, strict=True
    )
    return (
        binary.uuids(ids),
        binary.texts(streams),
        binary.int8s(versions),
        binary.texts(types),
        _or_null(steps, binary.texts),
        _or_null(attempts, binary.int4s),
        _or_null(actors, binary.texts),
        _or_null(traces, binary.texts),
        binary.int2s(schemas),
        binary.times(times),
        binary.byte_strings(payloads),
        binary.framed(salts),
    )


def append_arguments(groups: Sequence[Group]) -> tuple[Any, ...]:
    """The arguments of `append_events_v1` in their order, one array per column."""
    events = events_of(groups)
    ids, types, _, streams, steps, attempts, times, actors, traces, schemas, payloads = zip(
        *events, strict=True
    )
    return (
        [len(group.events) for group in groups],
        ids,
        streams,
        types,
        steps,
        attempts,
        actors,
        traces,
        schemas,
        times,
        payloads,
        [os.urandom(SALT_BYTES) for _ in events],
        _expected_versions(groups),
    )


def _or_null(column: tuple[Any, ...], array: Callable[[tuple[Any, ...]], bytes]) -> bytes:
    """A column that holds nothing needs no array: unnest fills it up with NULL."""
    return binary.NULL if column.count(None) == len(column) else array(column)


def lone_arguments(event: EncodedEvent, last_version: int | None, salt: bytes) -> tuple[bytes, ...]:
    """The arguments of `append_event_v1` in their order and PostgreSQL's binary format."""
    return (
        binary.uuid(event.event_id),
        binary.text(event.run_id),
        binary.text(event.event_type),
        binary.text(event.step_id),
        binary.int4(event.attempt),
        binary.text(event.actor),
        binary.text(event.traceparent),
        binary.int2(event.schema_version),
        binary.time(event.timestamp),
        binary.framed(event.data),
        binary.framed(salt),
        binary.int8(last_version),
    )


def expects_nothing(groups: Iterable[Group]) -> bool:
    """Whether every event may go to any version of its stream."""
    return all(group.expected_version is None for group in groups)


def _expected_versions(groups: Sequence[Group]) -> list[int | None] | None:
    if expects_nothing(groups):
        return None
    expected: list[int | None] = []
    for group in groups:
        expected.append(group.expected_version)
        expected.extend([None] * (len(group.events) - 1))
    return expected


def all_recorded(
    groups: Iterable[Group], first_position: int, versions: Iterable[int], recorded_at: datetime
) -> list[Outcome]:
    """The outcomes of groups whose every event was recorded, one position after the other."""
    numbers = zip(count(first_position), versions, strict=False)
    return [
        [recorded(event, *number, recorded_at) for event, number in zip(group.events, numbers, strict=False)]
        for group in groups
    ]


def recorded(event: EncodedEvent, position: int, version: int, recorded_at: datetime) -> RecordedEvent:
    return _new_recorded((position, version, recorded_at, *event))


def positions_of(answer: Any) -> tuple[int, int]:
    """The first and the last position that the answer of `append_events_v1` tells of; (0, 0) where it
    refuses everything."""
    if answer["outcomes"] is None:
        first = answer["positions"][0]
        return first, first + len(answer["versions"]) - 1
    told = [position for position in answer["positions"] if position is not None]
    return (min(told), max(told)) if told else (0, 0)


def duplicate_positions(answer: Any) -> list[int]:
    """Positions of events that were recorded before this call."""
    verdicts: list[str] = answer["outcomes"] or []
    return [answer["positions"][index] for index, verdict in enumerate(verdicts) if verdict == "duplicate"]


def outcomes_of(
    groups: Sequence[Group], answer: Any, first_recordings: Mapping[int, RecordedEvent]
) -> list[Outcome]:
    """One outcome per group from the answer of `append_events_v1`. Where an event was recorded
    before, its first recording is the outcome."""
    verdicts: list[str] | None = answer["outcomes"]
    positions: list[int] = answer["positions"]
    versions: list[int] = answer["versions"]
    recorded_at: list[datetime] = answer["recorded_at"]
    if verdicts is None:
        return all_recorded(groups, positions[0], versions, recorded_at[0])
    outcomes: list[Outcome] = []
    first = 0
    for group in groups:
        indexes = range(first, first + len(group.events))
        first += len(group.events)
        refused = _refused(verdicts, indexes)
        if refused is not None:
            event = group.events[refused - indexes.start]
            outcomes.append(_error(event, verdicts[refused], positions[refused], versions[refused], group))
            continue
        outcomes.append(
            [
                first_recordings.get(positions[index])
                or recorded(event, positions[index], versions[index], recorded_at[index])
                for event, index in zip(group.events, indexes, strict=True)
            ]
        )
    return outcomes


def _refused(verdicts: list[str], indexes: range) -> int | None:
    return next((index for index in indexes if verdicts[index] in {"conflict", "stale"}), None)


def _error(event: EncodedEvent, verdict: str, position: int, version: int, group: Group) -> DaichoError:
    if verdict == "conflict":
        return EventConflict(
            f"Event id {event.event_id} is recorded already, with other content",
            expected=f"the same event as position {position} holds",
            found=f"a {event.event_type.value} of run {event.run_id!r} with another type, run, step, "
            "attempt, schema version or payload",
            fix="Nothing of this call was written. Give a new fact a new event_id",
        )
    return VersionConflict(
        f"Run {event.run_id!r} is not at the expected version",
        expected=f"version {group.expected_version}",
        found=f"version {version}",
        fix="Nothing of this call was written. Read the run again and decide anew",
    )

"""Append: groups of encoded events to one call of `append_events_v1`, and its answer back.

group    the events of one `emit` or `emit_many`: recorded whole or not at all
outcome  of a group: its recorded events, or the error that is that caller's alone
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, NamedTuple

from ledger.contract.events import Event, EventType, RecordedEvent
from ledger.errors import DaichoError, EventConflict, InvalidEvent, VersionConflict
from ledger.store.codec import encode_payload

SALT_BYTES = 16


class EncodedEvent(NamedTuple):
    event: Event
    data: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """`expected_version` is the stream's version before the group's first event, or None."""

    events: tuple[EncodedEvent, ...]
    expected_version: int | None = None

    @property
    def size_bytes(self) -> int:
        return sum(len(encoded.data) for encoded in self.events)


Outcome = list[RecordedEvent] | DaichoError


def encode_group(events: Sequence[Event], expected_version: int | None = None) -> Group:
    for event in events:
        if event.event_type is EventType.PAYLOAD_ERASED:
            raise InvalidEvent(
                "payload.erased is recorded by the erasure itself, never emitted",
                fix="Use `tenant.erase_payload(position, by=..., reason=...)`; nothing was sent",
            )
    return Group(tuple(EncodedEvent(event, encode_payload(event)) for event in events), expected_version)


def append_arguments(groups: Sequence[Group]) -> tuple[Any, ...]:
    """The arguments of `append_events_v1` in their order, one array per column."""
    encoded = [item for group in groups for item in group.events]
    events = [item.event for item in encoded]
    salts = os.urandom(SALT_BYTES * len(events))
    return (
        [len(group.events) for group in groups],
        [event.event_id for event in events],
        [event.run_id for event in events],
        [event.event_type.value for event in events],
        _or_null([event.step_id for event in events]),
        _or_null([event.attempt for event in events]),
        _or_null([event.actor for event in events]),
        _or_null([event.traceparent for event in events]),
        [event.schema_version for event in events],
        [event.timestamp for event in events],
        [item.data for item in encoded],
        [salts[start : start + SALT_BYTES] for start in range(0, len(salts), SALT_BYTES)],
        _expected_versions(groups),
    )


def _or_null(column: list[Any]) -> list[Any] | None:
    """A column that holds nothing needs no array: unnest fills it up with NULL."""
    return None if column.count(None) == len(column) else column


def lone_event(groups: Sequence[Group]) -> EncodedEvent | None:
    """The event, where there is but one and it may go to any version of its stream."""
    if len(groups) == 1 and len(groups[0].events) == 1 and groups[0].expected_version is None:
        return groups[0].events[0]
    return None


def lone_arguments(item: EncodedEvent) -> tuple[Any, ...]:
    """The arguments of `append_event_v1` in their order."""
    event = item.event
    return (
        event.event_id,
        event.run_id,
        event.event_type.value,
        event.step_id,
        event.attempt,
        event.actor,
        event.traceparent,
        event.schema_version,
        event.timestamp,
        item.data,
        os.urandom(SALT_BYTES),
    )


def _expected_versions(groups: Sequence[Group]) -> list[int | None] | None:
    if all(group.expected_version is None for group in groups):
        return None
    expected: list[int | None] = []
    for group in groups:
        expected.append(group.expected_version)
        expected.extend([None] * (len(group.events) - 1))
    return expected


def positions_of(answer: Any) -> tuple[int, int]:
    """The first and the last position that the answer tells of; (0, 0) where it refuses everything."""
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
        return _all_recorded(groups, positions[0], versions, recorded_at[0])
    outcomes: list[Outcome] = []
    first = 0
    for group in groups:
        indexes = range(first, first + len(group.events))
        first += len(group.events)
        refused = _refused(verdicts, indexes)
        if refused is not None:
            event = group.events[refused - indexes.start].event
            outcomes.append(_error(event, verdicts[refused], positions[refused], versions[refused], group))
            continue
        outcomes.append(
            [
                first_recordings.get(positions[index])
                or recorded(item, positions[index], versions[index], recorded_at[index])
                for item, index in zip(group.events, indexes, strict=True)
            ]
        )
    return outcomes


def _all_recorded(
    groups: Sequence[Group], first_position: int, versions: list[int], recorded_at: datetime
) -> list[Outcome]:
    numbers = zip(count(first_position), versions, strict=False)
    return [
        [recorded(item, *number, recorded_at) for item, number in zip(group.events, numbers, strict=False)]
        for group in groups
    ]


def _refused(verdicts: list[str], indexes: range) -> int | None:
    return next((index for index in indexes if verdicts[index] in {"conflict", "stale"}), None)


def recorded(item: EncodedEvent, position: int, version: int, recorded_at: datetime) -> RecordedEvent:
    event, data = item
    return RecordedEvent(
        position,
        version,
        recorded_at,
        event.event_id,
        event.event_type,
        event.tenant_id,
        event.run_id,
        event.step_id,
        event.attempt,
        event.timestamp,
        event.actor,
        event.traceparent,
        event.schema_version,
        data,
    )


def _error(event: Event, verdict: str, position: int, version: int, group: Group) -> DaichoError:
    if verdict == "conflict":
        return EventConflict(
            f"Event id {event.event_id} is recorded already, with other content",
            expected=f"the {event.event_type.value} of run {event.run_id!r} that position {position} holds",
            found="another type, run, step, attempt, schema version or payload",
            fix="Nothing of this call was written. Give a new fact a new event_id",
        )
    return VersionConflict(
        f"Run {event.run_id!r} is not at the expected version",
        expected=f"version {group.expected_version}",
        found=f"version {version}",
        fix="Nothing of this call was written. Read the run again and decide anew",
    )

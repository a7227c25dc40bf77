"""Search: a tenant's events by run, type, step, actor, time, error category and text, the newest first.

Keyset pages: each looks at a bounded number of events and says where the next one begins, so that a page is
quick however rare what is sought.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from ledger.contract.errors import ErrorCategory
from ledger.contract.event_type import EventType
from ledger.contract.events import RecordedEvent
from ledger.contract.names import shown
from ledger.errors import InvalidSearch, PositionNotReached, StepNotFound
from ledger.store.recorded import recorded_event
from ledger.store.statements import load_statements
from projections.audit.answers import Answer
from projections.audit.near import did_you_mean
from projections.audit.points import Point
from projections.audit.runs import RunReader
from projections.audit.summaries import summary_of

LOOKED_AT_MAX = 5_000
LIMIT_MAX = 1_000
ACTORS_SHOWN = 10
TEXT_CHARS_MAX = 255  # as many as the longest name has
WITH_CATEGORY = (EventType.STEP_FAILED, EventType.RUN_FAILED)

_SQL = load_statements("projections.audit", "search.sql")
_OWN_TYPES = [kind.value for kind in EventType]
_CATEGORIES = [kind.value for kind in WITH_CATEGORY]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search is for; None is anything. `text` is sought in payloads as recorded, keys included, and
    upper and lower case of a-z are the same. An event has a category where it is a failure."""

    run_id: str | None = None
    types: tuple[str, ...] | None = None
    step_id: str | None = None
    actor: str | None = None
    category: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        for name in ("run_id", "step_id", "actor", "text"):
            _require_storable(name, getattr(self, name))
        if self.category is not None and self.category not in {kind.value for kind in ErrorCategory}:
            listed = ", ".join(kind.value for kind in ErrorCategory)
            raise _invalid("category", f"one of {listed}", repr(self.category[:40]))

    @property
    def needle(self) -> str | None:
        """The text as it stands in a payload: escaped as JSON, in lower case."""
        return None if self.text is None else orjson.dumps(self.text)[1:-1].lower().decode()

    def matches(self, event: RecordedEvent) -> bool:
        """The same in Python as the statements ask."""
        return (
            (self.run_id is None or event.run_id == self.run_id)
            and (self.types is None or str(event.event_type) in self.types)
            and (self.step_id is None or event.step_id == self.step_id)
            and (self.actor is None or event.actor == self.actor)
            and (self.category is None or _category(event) == self.category)
            and (self.needle is None or self.needle.encode() in _text(event))
        )


class FoundEvent(Answer):
    """An event of a search, with one line of what it says."""

    position: int
    version: int
    run_id: str
    event_type: str
    step_id: str | None
    attempt: int | None
    actor: str | None
    timestamp: datetime
    recorded_at: datetime
    summary: str
    error_category: str | None
    retryable: bool | None
    erased: bool


class SearchPage(Answer):
    """`events` are in falling order of position. `next`, given as `before`, goes on; None where everything
    was looked at. A page may hold fewer events than asked for, and even none, and still have a next one."""

    tenant_id: str
    events: list[FoundEvent]
    next: int | None


async def search(
    reader: RunReader, wanted: Wanted, *, since: Point, until: Point, before: int | None, limit: int
) -> SearchPage:
    limit = max(1, min(limit, LIMIT_MAX))
    head = await reader.tenant.store.head()
    if before is not None and before > head + 1:
        raise PositionNotReached(
            f"There is no position before {before}",
            expected=f"at most {head + 1}, which the head comes before",
            fix="Give what the page before says in `next`",
        )
    await require_types(reader, wanted.types or ())
    lower, upto = await reader.bounds(since, until, head)
    upper = upto + 1 if before is None else min(upto + 1, before)
    name, lead = _lead(wanted)
    arguments = (upper, lower, LOOKED_AT_MAX, lead)
    rows = await reader.tenant.reader.fetch(
        _SQL["find"].replace("{look}", _SQL[name]),
        *arguments,
        wanted.run_id,
        None if wanted.types is None else list(wanted.types),
        wanted.step_id,
        wanted.actor,
        wanted.category,
        _CATEGORIES,
        limit,
        _OWN_TYPES,
        wanted.needle,
        doing="searching events",
    )
    found = [found_event(recorded_event(reader.tenant.tenant_id, row)) for row in rows]
    following: int | None = found[-1].position if len(found) == limit else None
    if following is None:
        looked = _SQL["looked"].replace("{look}", _SQL[name])
        [(count, last)] = await reader.tenant.reader.fetch(looked, *arguments, doing="searching events")
        following = last if count == LOOKED_AT_MAX else None
    if not found and following is None:
        await _require_known(reader, wanted)
    return SearchPage(tenant_id=reader.tenant.tenant_id, events=found, next=following)


async def _require_known(reader: RunReader, wanted: Wanted) -> None:
    """Nothing was found: raises where that is because a name is misspelt, with what is like it."""
    if wanted.run_id is not None:
        await reader.require(wanted.run_id)
    if wanted.step_id is not None and not await _is_named(reader, "has_step", wanted.step_id):
        steps = await _names(reader, "step_ids")
        raise StepNotFound(
            f"No event of tenant {reader.tenant.tenant_id!r} names a step {shown(wanted.step_id)}",
            fix=did_you_mean(wanted.step_id, steps, "`daicho stats` lists them"),
        )
    if wanted.actor is not None and not await _is_named(reader, "has_actor", wanted.actor):
        actors = await _names(reader, "actors")
        some = f"Some are {', '.join(map(shown, actors[:ACTORS_SHOWN]))}" if actors else "No event names one"
        raise InvalidSearch(
            f"No event has the actor {shown(wanted.actor)}", fix=did_you_mean(wanted.actor, actors, some)
        )


async def require_types(reader: RunReader, types: Iterable[str]) -> None:
    """Raises InvalidSearch where one is neither a type of the ledger's nor that of any event, with what is
    like it: it would never be found, and nobody would know."""
    for name in types:
        if name in _OWN_TYPES or (_is_storable(name) and await _is_named(reader, "has_type", name)):
            continue
        topics = await _names(reader, "event_types")
        raise InvalidSearch(
            f"No event has the type {shown(name)}",
            fix=did_you_mean(name, [*topics, *_OWN_TYPES], f"Types are {', '.join(_OWN_TYPES)}"),
        )


async def _is_named(reader: RunReader, statement: str, name: str) -> bool:
    return bool(await reader.tenant.reader.fetchval(_SQL[statement], name, doing="looking for names"))


async def _names(reader: RunReader, statement: str) -> list[str]:
    rows = await reader.tenant.reader.fetch(_SQL[statement], doing="looking for names")
    return [row[0] for row in rows]


def search_events(
    events: Iterable[RecordedEvent], wanted: Wanted, *, after: int = 0, upto: int | None = None
) -> list[FoundEvent]:
    """What all pages of a search hold together, from the events themselves. Pure."""
    found = [
        found_event(event)
        for event in events
        if event.position > after and (upto is None or event.position <= upto) and wanted.matches(event)
    ]
    return sorted(found, key=lambda event: -event.position)


def found_event(event: RecordedEvent) -> FoundEvent:
    category = _category(event)
    return FoundEvent(
        position=event.position,
        version=event.version,
        run_id=event.run_id,
        event_type=str(event.event_type),
        step_id=event.step_id,
        attempt=event.attempt,
        actor=event.actor,
        timestamp=event.timestamp,
        recorded_at=event.recorded_at,
        summary=summary_of(event.event_type, event.payload or {}),
        error_category=category,
        retryable=None if category is None else category == ErrorCategory.RETRYABLE,
        erased=event.is_erased,
    )


def _lead(wanted: Wanted) -> tuple[str, str | Sequence[str] | None]:
    """Which statement leads to the events to look at: the condition that leaves the fewest, as far as one
    can tell without looking."""
    if wanted.run_id is not None:
        return "look_at_run", wanted.run_id
    types = wanted.types
    if wanted.category is not None:
        types = tuple(kind for kind in _CATEGORIES if types is None or kind in types)
    if types is not None:
        return "look_at_types", list(dict.fromkeys(types))
    if wanted.step_id is not None:
        return "look_at_step", wanted.step_id
    if wanted.actor is not None:
        return "look_at_actor", wanted.actor
    return "look_everywhere", None


def _category(event: RecordedEvent) -> str | None:
    if event.event_type not in WITH_CATEGORY or event.data is None:
        return None
    error: dict[str, Any] = (event.payload or {})["error"]
    return str(error["category"])


def _text(event: RecordedEvent) -> bytes:
    return event.data.lower() if event.data is not None and isinstance(event.event_type, EventType) else b""


def _require_storable(name: str, value: str | None) -> None:
    if value is not None and not (0 < len(value) <= TEXT_CHARS_MAX and _is_storable(value)):
        expected = f"1 to {TEXT_CHARS_MAX} characters, none of them U+0000 or a lone surrogate"
        raise _invalid(name, expected, repr(value[:40]))


def _is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _invalid(name: str, expected: str, found: str) -> InvalidSearch:
    return InvalidSearch(
        f"The search's {name} cannot be sought", expected=expected, found=found, fix="Correct it"
    )

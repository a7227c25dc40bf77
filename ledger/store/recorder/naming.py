"""Names: `application/originator` as a stream's id (store/originators.py says how the id of an
originator is written), and what may stand in a topic."""

import re
from uuid import UUID

from ledger.contract.event_type import EventType
from ledger.contract.events import EVENT_TYPES
from ledger.contract.names import PROMPT_PACKS, is_reserved, name_problem, shown
from ledger.store.originators import name_of_text
from ledger.store.recorder.errors import InvalidStoredEvent

DEFAULT_APPLICATION = "stored"
ORIGINATOR_BYTES_MAX = 1_000
TOPIC_BYTES_MAX = 1_000

RESERVED_APPLICATIONS: dict[str, frozenset[str]] = {
    PROMPT_PACKS: frozenset(
        {
            EventType.PROMPT_PACK_PUBLISHED.value,
            EventType.PROMPT_PACK_REVISED.value,
            EventType.PROMPT_PACK_RETIRED.value,
        }
    )
}
"""The ledger's own applications, each with the topics it records: event types, which no other may.
`append_stored_events_v1` in the database says the same."""

# A later version may add types to the ledger's own families, and would read such a topic as its own.
# `is_own_type_v1` in the database says the same.
OWN_TYPE = re.compile(rf"(?:{'|'.join(sorted({name.split('.')[0] for name in EVENT_TYPES}))})\.[a-z_]+")


def application_name(name: str) -> str:
    """Raises InvalidStoredEvent where an application cannot be called so."""
    name = name or DEFAULT_APPLICATION
    if name in RESERVED_APPLICATIONS:
        return name
    problem = "names that begin with '$' are reserved" if is_reserved(name) else name_problem(name)
    if problem is not None:
        raise InvalidStoredEvent(
            f"{shown(name)} is not an application's name", expected=problem, fix="Rename it"
        )
    return name


def stream_id(application: str, originator_id: UUID | str) -> str:
    """The stream of an originator. Raises InvalidStoredEvent."""
    if isinstance(originator_id, UUID):
        return f"{application}/{originator_id}"
    if is_reserved(originator_id):
        raise _refused("originator id", originator_id, "names that begin with '$' are reserved")
    _check_text("originator id", originator_id, ORIGINATOR_BYTES_MAX)
    return f"{application}/{name_of_text(originator_id)}"


def checked_topic(topic: str, application: str = DEFAULT_APPLICATION) -> str:
    """Raises InvalidStoredEvent where `application` may not record this topic."""
    if topic in RESERVED_APPLICATIONS.get(application, ()):
        return topic
    _check_text("topic", topic, TOPIC_BYTES_MAX)
    if application in RESERVED_APPLICATIONS:
        raise _refused("topic", topic, f"one of {', '.join(sorted(RESERVED_APPLICATIONS[application]))}")
    if OWN_TYPE.fullmatch(topic):
        raise _refused("topic", topic, "a topic of the application's own, such as module:Class")
    return topic


def _check_text(what: str, text: str, bytes_max: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _refused(what, text, "text without lone surrogates") from None
    if not 0 < size <= bytes_max or "\x00" in text:
        raise _refused(what, text, f"1 to {bytes_max} bytes of UTF-8 without U+0000")


def _refused(what: str, found: str, expected: str) -> InvalidStoredEvent:
    return InvalidStoredEvent(f"{shown(found)} cannot be a {what}", expected=expected, fix="Nothing was sent")

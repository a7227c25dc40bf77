"""Names: an originator's id as a stream's id and back, and what may stand in a topic.

UUID('6f1c…')            Orders/6f1c… (36 characters, as str() writes it)
'order-7'                Orders/order-7
'6f1c…', text, no UUID   Orders/text:6f1c…   so that each comes back as the type it was
"""

import re
from uuid import UUID

from ledger.contract.events import EVENT_TYPES
from ledger.contract.names import is_reserved, name_problem, shown
from ledger.store.recorder.errors import InvalidStoredEvent

DEFAULT_APPLICATION = "stored"
ORIGINATOR_BYTES_MAX = 1_000
TOPIC_BYTES_MAX = 1_000

_TEXT = "text:"
# A later version may add types to the ledger's own families, and would read such a topic as its own.
# `is_own_type_v1` in the database says the same.
OWN_TYPE = re.compile(rf"(?:{'|'.join(sorted({name.split('.')[0] for name in EVENT_TYPES}))})\.[a-z_]+")


def application_name(name: str) -> str:
    """Raises InvalidStoredEvent where an application cannot be called so."""
    name = name or DEFAULT_APPLICATION
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
    escape = _TEXT if originator_id.startswith(_TEXT) or _is_uuid(originator_id) else ""
    return f"{application}/{escape}{originator_id}"


def originator_id(stream: str) -> UUID | str:
    name = stream.partition("/")[2]
    if name.startswith(_TEXT):
        return name[len(_TEXT) :]
    return UUID(name) if _is_uuid(name) else name


def checked_topic(topic: str) -> str:
    _check_text("topic", topic, TOPIC_BYTES_MAX)
    if OWN_TYPE.fullmatch(topic):
        raise _refused("topic", topic, "a topic of the application's own, such as module:Class")
    return topic


def _is_uuid(text: str) -> bool:
    try:
        return len(text) == 36 and str(UUID(text)) == text
    except ValueError:
        return False


def _check_text(what: str, text: str, bytes_max: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _refused(what, text, "text without lone surrogates") from None
    if not 0 < size <= bytes_max or "\x00" in text:
        raise _refused(what, text, f"1 to {bytes_max} bytes of UTF-8 without U+0000")


def _refused(what: str, found: str, expected: str) -> InvalidStoredEvent:
    return InvalidStoredEvent(f"{shown(found)} cannot be a {what}", expected=expected, fix="Nothing was sent")

"""Originators: an aggregate's id in the name of its stream and back, free of the library.

UUID('6f1c…')            6f1c… (36 characters, as str() writes it)
'order-7'                order-7
'6f1c…', text, no UUID   text:6f1c…   so that each comes back as the type it was
"""

from uuid import UUID

_TEXT = "text:"


def name_of_text(originator_id: str) -> str:
    escape = _TEXT if originator_id.startswith(_TEXT) or _is_uuid(originator_id) else ""
    return f"{escape}{originator_id}"


def originator_id(stream: str) -> UUID | str:
    name = stream.partition("/")[2]
    if name.startswith(_TEXT):
        return name[len(_TEXT) :]
    return UUID(name) if _is_uuid(name) else name


def _is_uuid(text: str) -> bool:
    try:
        return len(text) == 36 and str(UUID(text)) == text
    except ValueError:
        return False

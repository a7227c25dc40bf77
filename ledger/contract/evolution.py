"""Evolution: payload shapes change, recorded bytes do not.

Each event type has a schema version, stored with every event. To change a payload's shape: raise its
number in SCHEMA_VERSIONS, write the step from the old shape to the new in UPCASTERS, and keep bytes of
the old shape under tests/contract/released. Events are written in the present shape only, and read in
it always: an old payload goes through every step between its version and the present one. What was decided
about a prompt pack is also read by its aggregate, from the stored bytes: `prompts/decisions.py` has to learn
a new shape of prompt_pack.* by itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

from blobstore.errors import DaichoError
from ledger.contract.event_type import EventType

Payload = dict[str, Any]
Upcaster = Callable[[Payload], Payload]
"""Takes a payload of one version and returns it in the next; it may change what it was given."""

SCHEMA_VERSIONS: Mapping[EventType, int] = dict.fromkeys(EventType, 1)
"""The version in which each type is written."""

UPCASTERS: Mapping[tuple[EventType, int], Upcaster] = {}
"""By type and the version that the step begins with."""


class PayloadTooNew(DaichoError, ValueError):
    """The event was recorded by a newer daicho, in a shape this one does not know."""


def upcast(
    event_type: EventType,
    version: int,
    payload: Payload,
    *,
    versions: Mapping[EventType, int] = SCHEMA_VERSIONS,
    upcasters: Mapping[tuple[EventType, int], Upcaster] = UPCASTERS,
) -> Payload:
    """The payload in the present shape. Raises PayloadTooNew."""
    present = versions[event_type]
    if version == present:
        return payload
    if version > present:
        raise PayloadTooNew(
            f"A {event_type.value} was recorded by a newer daicho",
            expected=f"schema version {present} or older",
            found=f"schema version {version}",
            fix="Install the newer daicho here too",
        )
    for step in range(version, present):
        payload = upcasters[event_type, step](payload)
    return payload

"""Times: always aware, so that every one of them names an instant."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

# A day from either end of what a datetime can hold: no zone's offset can carry it beyond.
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
_LATEST = datetime(9999, 12, 30, tzinfo=UTC)

AwareTime = Annotated[AwareDatetime, Field(ge=_EARLIEST, le=_LATEST)]
"""Kept in the zone it was given in."""

UtcTime = Annotated[AwareTime, AfterValidator(lambda value: value.astimezone(UTC))]
"""Aware on the way in, UTC from then on."""


def rfc3339(time: datetime) -> str:
    """In UTC, as JSON has it everywhere."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")

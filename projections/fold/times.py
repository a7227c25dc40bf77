"""Times as payloads hold them: ISO 8601 texts, checked when the event was emitted."""

from datetime import UTC, datetime

from pydantic import TypeAdapter

from ledger.contract.times import UtcTime

_TIME = TypeAdapter(UtcTime)


def utc_time(text: str) -> datetime:
    """The instant in UTC. The standard library reads nearly every form that `emit` lets in, in a third
    of the time; the contract's own type reads the others."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return _TIME.validate_python(text)

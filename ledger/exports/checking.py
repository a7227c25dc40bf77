"""Checking a file of jsonl before anything is made of it: that it holds a whole log, each line as it was.

Memory is bounded however long the log is: what must occur once is sorted on disk (`RecordSorter`).
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ledger.contract.event_type import EventType
from ledger.contract.evolution import SCHEMA_VERSIONS
from ledger.errors import ArchiveDamaged, ArchiveUnreadable
from ledger.exports.jsonl import Line, line_of_text
from ledger.exports.rows import StoredEvent
from ledger.upkeep.sorting import RecordSorter

AGAIN = "Use the file as it was exported; nothing was imported"
LINE_BYTES_MAX = 1_000_000
"""A payload of 64 KiB comes to 90 kB in base64; names and actors to a few more."""
_POSITION_BYTES = 8
_ID_BYTES = 16
_VERSION_BYTES = 32  # of the hash of a run's name and a version


@dataclass(frozen=True)
class Checked:
    """The file's digest, whose log it holds, and the position of its last event."""

    digest: str
    tenant_id: str
    head: int


def checked(path: Path) -> Checked:
    """Reads the file once. Raises ArchiveUnreadable, ArchiveDamaged, SortingFailed."""
    digest, last, number = sha256(), None, 0
    with _Once(_ID_BYTES, "event id") as ids, _Once(_VERSION_BYTES, "version of its run") as versions:
        try:
            with path.open("rb") as file:
                while text := file.readline(LINE_BYTES_MAX):
                    number += 1
                    digest.update(text)
                    line = line_of_text(number, text)
                    _require_next(path, last, line, number)
                    _require_usable(path, line.event)
                    ids.add(line.event.event_id.bytes, number)
                    versions.add(_version_key(line.event), number)
                    last = line
        except OSError as error:
            raise ArchiveUnreadable(f"{path} cannot be read: {error.strerror or error}") from None
        if last is None:
            raise ArchiveUnreadable(
                f"{path} holds no event", expected="a file of `daicho export --format jsonl`"
            )
        if last.upto != number:
            raise ArchiveDamaged(
                f"{path} ends at position {number}",
                expected=f"a whole log: every position up to {last.upto}, as its lines say",
                fix="Copy the file again, or export without --until; nothing was imported",
            )
        for once in (ids, versions):
            once.require(path)
    return Checked(digest.hexdigest(), last.tenant_id, number)


class _Once:
    """Keys that no two lines may share."""

    def __init__(self, key_bytes: int, what: str) -> None:
        self._key_bytes, self._what = key_bytes, what
        self._sorter = RecordSorter(key_bytes + _POSITION_BYTES)

    def add(self, key: bytes, number: int) -> None:
        self._sorter.add(key + number.to_bytes(_POSITION_BYTES))

    def require(self, path: Path) -> None:
        key, number = b"", 0
        for record in self._sorter:
            found, at = record[: self._key_bytes], int.from_bytes(record[self._key_bytes :])
            if found == key:
                raise ArchiveDamaged(
                    f"Lines {number} and {at} of {path} have the same {self._what}",
                    expected=f"every {self._what} once",
                    fix=AGAIN,
                )
            key, number = found, at

    def __enter__(self) -> "_Once":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._sorter.__exit__(None, None, None)


def _require_next(path: Path, before: Line | None, line: Line, number: int) -> None:
    event = line.event
    if event.position != number:
        raise ArchiveDamaged(
            f"Line {number} of {path} is position {event.position}",
            expected="a whole log: every position from 1 on, in order",
            fix="Export without --run, --since and --until; nothing was imported",
        )
    if before is None:
        return
    if line.tenant_id != before.tenant_id:
        said = f"Line {number} of {path} is of tenant {line.tenant_id!r}"
        raise ArchiveDamaged(said, expected=f"one of {before.tenant_id!r}", fix=AGAIN)
    if line.upto != before.upto:
        said = f"Line {number} of {path} is of another export than the lines before"
        raise ArchiveDamaged(said, expected=f"one up to position {before.upto}", fix=AGAIN)
    if event.recorded_at < before.event.recorded_at:
        raise ArchiveDamaged(
            f"Line {number} of {path} was recorded before the line before it",
            expected="times of recording that never decrease",
            fix=AGAIN,
        )


def _require_usable(path: Path, event: StoredEvent) -> None:
    if event.payload is not None and event.payload_commitment != _commitment(event.salt, event.payload):
        raise ArchiveDamaged(
            f"The payload at position {event.position} of {path} does not meet its commitment",
            expected="the payload and the salt that were recorded",
            fix=AGAIN,
        )
    known = SCHEMA_VERSIONS[EventType(event.event_type)] if event.is_own else event.schema_version
    if event.schema_version > known:
        raise ArchiveUnreadable(
            f"The {event.event_type} at position {event.position} of {path} was recorded by a newer daicho",
            expected=f"schema version {known} or older",
            found=f"schema version {event.schema_version}",
            fix="Import it with that version; nothing was imported",
        )


def _commitment(salt: bytes | None, payload: bytes) -> bytes:
    return sha256(b"daicho:payload:v1\x00" + (salt or b"") + payload).digest()


def _version_key(event: StoredEvent) -> bytes:
    return sha256(event.version.to_bytes(8) + event.stream_id.encode()).digest()

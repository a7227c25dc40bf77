"""Erasure: an event's payload is gone for good, and a record in the tenant's stream says so.

record  of an erasure: a `payload.erased`. Its id follows from the erased event's, so that there is one
        at most and it is found without a search
"""

from hashlib import sha256
from uuid import UUID

_TAG = b"daicho:erasure:v1\x00"


def erasure_id(event_id: UUID) -> UUID:
    """The id of the record: a UUID of version 8 (RFC 9562) made from sha256(tag || event_id). The same
    as `ledger.erasure_id_v1` in the database."""
    digits = sha256(_TAG + event_id.bytes).hexdigest()[:32]
    return UUID(f"{digits[:12]}8{digits[13:16]}a{digits[17:]}")

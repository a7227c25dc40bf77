"""The audit trail of the control database: who changed what there, when and why.

act      one change that somebody made: to a server, a tenant, a model, a default
subject  what was changed, as `kind:id`: "tenant:acme", "server:eu", "model:gpt-x", "step:outline"
actor    who did it: what the caller says (`by=`), else the account at this machine (`this_actor`)

An act is recorded in the transaction of its change, so that neither stands without the other:

    async with catalogue.changing() as connection:          # a transaction on the control database
        await connection.execute(...)
        await record_act(connection, by, "tenant.suspended", "tenant:acme", reason="unpaid")

The table takes no UPDATE, DELETE or TRUNCATE, from nobody. No secret belongs into `details`.
"""

import getpass
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from ledger.errors import InvalidName
from ledger.store.server import Connection
from ledger.store.statements import load_statements

ACTOR_CHARS_MAX = 200
REASON_CHARS_MAX = 1_000
DETAILS_BYTES_MAX = 16 * 1024

_ACTION = re.compile(r"[a-z_]+(\.[a-z_]+)+")
_SUBJECT = re.compile(r"[a-z_]+:.+")
_SQL = load_statements("ledger.control", "audit.sql")


@dataclass(frozen=True)
class Act:
    """One row of `control.control_audit`. `database_user` is PostgreSQL's own word for who it was."""

    entry_id: int
    recorded_at: datetime
    actor: str
    action: str
    subject: str
    reason: str | None
    details: dict[str, Any]
    database_user: str


def this_actor() -> str:
    """`account@machine`: who acts where the caller says nothing else."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        account = f"uid-{os.getuid()}"
    return f"{account}@{socket.gethostname()}"


async def record_act(
    connection: Connection,
    by: str | None,
    action: str,
    subject: str,
    *,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> int:
    """Records that `by` (None: `this_actor()`) did `action` to `subject`; returns the entry's id.

    `connection` is to the control database and in the transaction of the change. `action` is dotted and in
    the past tense ("tenant.created"); `details` is what orjson can write, at most 16 KiB. Raises InvalidName
    where `by` or `reason` is empty, too long or not printable.
    """
    assert connection.is_in_transaction(), "an act is recorded in the transaction of its change"
    assert _ACTION.fullmatch(action), action
    assert _SUBJECT.fullmatch(subject), subject
    actor = checked_text("by", this_actor() if by is None else by, ACTOR_CHARS_MAX)
    if reason is not None:
        checked_text("reason", reason, REASON_CHARS_MAX)
    encoded = orjson.dumps(dict(details or {}))
    assert len(encoded) <= DETAILS_BYTES_MAX, f"details of {action} take {len(encoded)} bytes"
    entry_id: int = await connection.fetchval(
        _SQL["record_act"], actor, action, subject, reason, encoded.decode()
    )
    return entry_id


async def acts_of(connection: Connection, subject: str | None = None, *, limit: int = 100) -> list[Act]:
    """The last `limit` acts, of `subject` alone where one is named; the newest first."""
    rows = await connection.fetch(_SQL["acts_of"], subject, limit)
    return [Act(**{**row, "details": orjson.loads(row["details"])}) for row in rows]


def checked_text(what: str, text: str, chars_max: int) -> str:
    if not text.strip() or len(text) > chars_max or not text.isprintable():
        raise InvalidName(
            f"{text[:40]!r} cannot stand in the audit trail as `{what}`",
            expected=f"1 to {chars_max} printable characters",
            fix="Correct it; nothing was changed",
        )
    return text

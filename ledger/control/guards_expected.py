"""What guards there are: as the tenant migrations of this code leave them behind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role

_TENANT_MIGRATIONS = "ledger.migrations.tenant"
_REFUSE = "EXECUTE FUNCTION ledger.refuse_change_v1()"
_NO_TRUNCATE = f"BEFORE TRUNCATE ON ledger.{{0}} FOR EACH STATEMENT {_REFUSE}"

TRIGGERS: Mapping[str, str] = {
    "events.immutable": "CREATE TRIGGER immutable BEFORE DELETE OR UPDATE ON ledger.events "
    "FOR EACH ROW EXECUTE FUNCTION ledger.only_erasure_v1()",
    "events.not_truncated": f"CREATE TRIGGER not_truncated {_NO_TRUNCATE.format('events')}",
    "events.erasure_recorded": "CREATE CONSTRAINT TRIGGER erasure_recorded AFTER INSERT ON ledger.events "
    "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.event_type = 'payload.erased'::text)) "
    "EXECUTE FUNCTION ledger.erasure_recorded_v1()",
    "events.not_fenced": "CREATE TRIGGER not_fenced BEFORE INSERT ON ledger.events FOR EACH ROW "
    "WHEN ((new.event_type = 'artifact.stored'::text)) EXECUTE FUNCTION ledger.refuse_fenced_v1()",
    "head.only_advances": "CREATE TRIGGER only_advances BEFORE UPDATE ON ledger.head FOR EACH ROW "
    'WHEN (((new."position" < old."position") OR (new.recorded_at < old.recorded_at))) '
    "EXECUTE FUNCTION ledger.head_only_advances_v1()",
    "head.immutable": f"CREATE TRIGGER immutable BEFORE DELETE ON ledger.head FOR EACH ROW {_REFUSE}",
    "head.not_truncated": f"CREATE TRIGGER not_truncated {_NO_TRUNCATE.format('head')}",
    "identity.immutable": "CREATE TRIGGER immutable BEFORE DELETE OR UPDATE ON ledger.identity "
    f"FOR EACH ROW {_REFUSE}",
    "identity.not_truncated": f"CREATE TRIGGER not_truncated {_NO_TRUNCATE.format('identity')}",
}
"""By table and name, as pg_get_triggerdef writes them. All are ENABLE ALWAYS."""

CONSTRAINTS = (
    "events.events_pkey",
    "events.events_stream_version_key",
    "events.events_event_id_key",
    "events.events_erased_whole",
    "blob_fences.blob_fences_pkey",
    "head.head_pkey",
    "identity.identity_pkey",
)

_READERS = frozenset({Role.PROJECTOR, Role.READER})
TABLE_READERS: Mapping[str, frozenset[Role]] = {
    "events": _READERS,
    "head": _READERS,
    "identity": frozenset(set(Role) - {Role.OWNER}),
    "blob_fences": frozenset({Role.READER}),
    "snapshots": frozenset({Role.READER}),
    "tracking": frozenset({Role.READER}),
    "alembic_version": frozenset({Role.READER}),
}
"""Who may SELECT from which table of the schema `ledger`. Nobody may do anything else."""

PROJECTION_READERS = frozenset({Role.READER})

SCHEMA_USERS: Mapping[str, frozenset[Role]] = {
    "ledger": frozenset(set(Role) - {Role.OWNER}),
    "projection": frozenset({Role.READER}),
}

_APPENDER = frozenset({Role.WRITER})
_COLLECTOR = frozenset({Role.COLLECTOR})
EXECUTORS: Mapping[str, frozenset[Role]] = {
    "append_event_v1": _APPENDER,
    "append_events_v1": _APPENDER,
    "append_contended_v1": _APPENDER,
    "append_events_v2": _APPENDER,
    "append_contended_v2": _APPENDER,
    "append_events_v3": _APPENDER,
    "append_contended_v3": _APPENDER,
    "append_stored_events_v1": _APPENDER,
    "insert_tracking_v1": _APPENDER,
    "insert_snapshots_v1": _APPENDER,
    "flushed_v1": _READERS,
    "erase_payload_v1": frozenset({Role.ERASER}),
    "condemn_blobs_v1": _COLLECTOR,
    "blobs_deleted_v1": _COLLECTOR,
    "take_over_fences_v1": _COLLECTOR,
    "lift_fence_v1": _APPENDER,
}
"""Who may EXECUTE which function of the schema `ledger`; one that is not named here, nobody but its owner."""


@dataclass(frozen=True)
class Routine:
    """A function as a migration makes it. `body` is None where PostgreSQL keeps it parsed (RETURN …)."""

    source: str
    is_definer: bool
    settings: tuple[str, ...]
    body: str | None


@cache
def routines() -> dict[str, Routine]:
    """Every function of the schema `ledger` by name, read from the migrations' SQL."""
    found: dict[str, Routine] = {}
    folder = files(_TENANT_MIGRATIONS).joinpath("sql")
    for name in sorted(entry.name for entry in folder.iterdir()):
        if name.endswith(".sql") and "downgrade" not in name:
            for statement in load_statements(_TENANT_MIGRATIONS, f"sql/{name}").values():
                found |= _routine(statement, f"migrations/tenant/sql/{name}")
    return found


def _routine(statement: str, source: str) -> dict[str, Routine]:
    made = re.search(r"^CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) ledger\.(\w+)", statement, re.MULTILINE)
    if made is None:
        return {}
    header, _, rest = statement[made.start() :].partition("$")
    tag, _, rest = rest.partition("$")
    body = rest.partition(f"${tag}$")[0] if rest else None
    pinned = re.findall(r"\bSET (\w+) = (.+?)(?=\s+SET |\s*$)", header, re.MULTILINE)
    settings = tuple(f"{name}={value}" for name, value in pinned)
    return {made[1]: Routine(source, "SECURITY DEFINER" in header, settings, body)}

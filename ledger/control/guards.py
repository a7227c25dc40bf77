"""Guards: what of a tenant's database keeps its log as it is, and what is missing of it.

guard    a trigger, a grant, an owner, a setting: whatever the database itself enforces
finding  one guard that is not as this code's migrations made it, and what to do about it

Looking is all that happens here, in a transaction that may only read. A guard that was down is never
armed again in passing: whatever went through while it was down has to be found out first.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from ledger.control.guards_expected import (
    CONSTRAINTS,
    EXECUTORS,
    PROJECTION_READERS,
    SCHEMA_USERS,
    TABLE_READERS,
    TRIGGERS,
    Routine,
    routines,
)
from ledger.control.migrations import head_revision, revision_of
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection, DatabaseServer
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

CLOCK_SECONDS_MAX = 5.0
_DURABLE = frozenset({"on", "remote_apply", "remote_write"})
_STATES = {"O": "is not ENABLE ALWAYS", "D": "is disabled", "R": "fires for replicas alone"}

_SQL = load_statements("ledger.control", "guards.sql")


@dataclass(frozen=True)
class Finding:
    """`guard` names it, `problem` says what was found, `fix` what to do. The server has no `tenant_id`."""

    guard: str
    problem: str
    fix: str
    tenant_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def inspect_server(server: DatabaseServer) -> list[Finding]:
    """What is wrong with the server and its settings. Raises StoreUnavailable."""
    connection = await server.connect(default_transaction_read_only="on")
    try:
        names = ["fsync", "full_page_writes", "synchronous_commit"]
        settings: dict[str, str] = dict(await connection.fetch(_SQL["settings"], names))
        asked = datetime.now(UTC)
        theirs = await connection.fetchval(_SQL["clock"])
        ours = asked + (datetime.now(UTC) - asked) / 2
    except POSTGRES_ERRORS as error:
        raise store_error(error, "inspecting the server", server.name) from error
    finally:
        await connection.close()
    return list(_of_server(settings, (theirs - ours).total_seconds()))


async def inspect_tenant(database: TenantDatabase) -> list[Finding]:
    """What is missing of the tenant's guards; empty where all are up. Raises StoreError (StoreUnavailable,
    where trying again may help) where the database cannot be asked."""
    # Not in one of the tenant's roles: what they may do is what is asked, and none is let in where the
    # identity is another's.
    connection = await database.server.connect(database.name, default_transaction_read_only="on")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            revision = await revision_of(connection, "tenant")
            if revision == head_revision("tenant"):
                found = [finding async for finding in _Inspection(connection, database).findings()]
            else:
                found = [_of_another_revision(revision)]
    except POSTGRES_ERRORS as error:
        raise store_error(error, "inspecting the guards", database.server.name) from error
    finally:
        await connection.close()
    return [Finding(f.guard, f.problem, f.fix, database.tenant_id) for f in found]


def _of_another_revision(found: str | None) -> Finding:
    return Finding(
        "schema revision",
        f"the database is at revision {found or 'none'}, this code at {head_revision('tenant')}: "
        "the guards of another revision are not known here",
        "Run `daicho migrate`, or install the daicho that migrated it; then ask again",
    )


def _of_server(settings: dict[str, str], clock_seconds: float) -> Iterator[Finding]:
    for name in ("fsync", "full_page_writes"):
        if settings[name] != "on":
            what = f"{name} is {settings[name]}: a crash of the machine can take acknowledged events"
            yield Finding(f"setting {name}", what, f"Set {name} = on and reload the server")
    if settings["synchronous_commit"] not in _DURABLE:
        yield _commits_unflushed(settings["synchronous_commit"], "the server")
    if abs(clock_seconds) > CLOCK_SECONDS_MAX:
        yield Finding(
            "clock",
            f"the server's clock is {clock_seconds:+.1f} s from this machine's: recorded_at is the "
            "server's time, an event's timestamp that of who emitted it",
            "Synchronise both clocks (NTP)",
        )


def _commits_unflushed(found: str, where: str) -> Finding:
    return Finding(
        "setting synchronous_commit",
        f"synchronous_commit is {found} for {where}; appends switch it on for themselves, all else "
        "that writes here does not",
        f"Set synchronous_commit = on for {where}",
    )


@dataclass(frozen=True)
class _Inspection:
    connection: Connection
    database: TenantDatabase

    async def findings(self) -> AsyncIterator[Finding]:
        for finding in await self._structure():
            yield finding
        for finding in await self._contents():
            yield finding

    async def _structure(self) -> list[Finding]:
        found: list[Finding] = []
        for part in (
            self._roles,
            self._owners,
            self._grants,
            self._default_grants,
            self._triggers,
            self._constraints,
            self._routines,
            self._settings,
        ):
            found += [finding async for finding in part()]
        return found

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        rows: list[Any] = await self.connection.fetch(_SQL[statement], *arguments)
        return rows

    def _name(self, role: Role) -> str:
        return self.database.role(role)

    async def _roles(self) -> AsyncIterator[Finding]:
        names = [self._name(role) for role in Role]
        there = {row["rolname"]: row for row in await self._fetch("roles", names)}
        for role, name in zip(Role, names, strict=True):
            found = there.get(name)
            if found is None:
                yield Finding(f"role {name}", "is not there", "Run `daicho migrate`: it makes roles")
                continue
            if found["may_more"]:
                yield Finding(
                    f"role {name}",
                    "has a right beyond its grants (SUPERUSER, CREATEROLE, CREATEDB, ...)",
                    f'ALTER ROLE "{name}" NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS',
                )
            if role is Role.OWNER and found["may_log_in"]:
                yield Finding(f"role {name}", "may log in", f'ALTER ROLE "{name}" NOLOGIN')
            if role is not Role.OWNER and not found["may_log_in"]:
                yield Finding(f"role {name}", "may not log in", "Run `daicho migrate`: it makes logins")
        expected = (self._name(Role.PROJECTOR), self._name(Role.OWNER))
        for role, member in await self._fetch("members", names):
            if (role, member) != expected:
                problem = f"{member} is a member of it and may do whatever it may"
                yield Finding(f"role {role}", problem, f'REVOKE "{role}" FROM "{member}"')

    async def _owners(self) -> AsyncIterator[Finding]:
        owner, projector = self._name(Role.OWNER), self._name(Role.PROJECTOR)
        rows = await self._fetch("owners")
        for kind, name, found in rows:
            in_projection = name == "projection" or name.startswith("projection.")
            expected = projector if in_projection else owner
            if found != expected:
                change = f'ALTER {kind} {name} OWNER TO "{expected}"'
                yield Finding(f"owner of {kind.lower()} {name}", f"{found} owns it, not {expected}", change)
        names = {name for kind, name, _ in rows if kind == "TABLE"}
        for table in TABLE_READERS:
            if f"ledger.{table}" not in names:
                yield Finding(f"table ledger.{table}", "is not there", _RESTORE)

    async def _grants(self) -> AsyncIterator[Finding]:
        found = {tuple(row) for row in await self._fetch("grants")}
        objects = {name for kind, name, _ in await self._fetch("owners") if kind != "DATABASE"}
        expected = set(self._expected_grants(objects))
        for kind, name, grantee, privilege in sorted(found - expected):
            problem = f"{grantee} may {privilege}"
            whom = grantee if grantee == "PUBLIC" else f'"{grantee}"'
            table, _, column = name.partition(" ")
            what = f"{privilege.removesuffix(' WITH GRANT OPTION')} {column}".rstrip()
            fix = f"REVOKE {what} ON {kind} {table} FROM {whom} CASCADE"
            yield Finding(f"grants on {kind.lower()} {name}", problem, fix)
        for kind, name, grantee, privilege in sorted(expected - found):
            problem = f"{grantee} may not {privilege}, which its work needs"
            fix = f'GRANT {privilege} ON {kind} {name} TO "{grantee}"'
            yield Finding(f"grants on {kind.lower()} {name}", problem, fix)

    def _expected_grants(self, objects: set[str]) -> Iterator[tuple[str, str, str, str]]:
        for role in Role:
            if role is not Role.OWNER:
                yield "DATABASE", self.database.name, self._name(role), "CONNECT"
        for schema, users in SCHEMA_USERS.items():
            yield from (("SCHEMA", schema, self._name(role), "USAGE") for role in users)
        for table, readers in TABLE_READERS.items():
            if f"ledger.{table}" in objects:
                yield from (("TABLE", f"ledger.{table}", self._name(role), "SELECT") for role in readers)
        for name in objects:
            if name.startswith("projection."):
                yield from (("TABLE", name, self._name(role), "SELECT") for role in PROJECTION_READERS)
        for routine, executors in EXECUTORS.items():
            name = f"ledger.{routine}"
            if name in objects:
                yield from (("ROUTINE", name, self._name(role), "EXECUTE") for role in executors)

    async def _default_grants(self) -> AsyncIterator[Finding]:
        owner, projector = self._name(Role.OWNER), self._name(Role.PROJECTOR)
        expected = {(projector, "projection", "r", self._name(Role.READER), "SELECT")}
        found = {tuple(row) for row in await self._fetch("default_grants")}
        for who, schema, kind, grantee, privilege in sorted(found - expected):
            where = f"({kind}, schema {schema or 'any'})"
            problem = f"{grantee} will have {privilege} on what {who} makes {where}"
            fix = "Take it back: ALTER DEFAULT PRIVILEGES … REVOKE"
            yield Finding("default privileges", problem, fix)
        revoked = {row[0] for row in await self._fetch("default_revokes")}
        for who in (owner, projector):
            if who not in revoked:
                yield Finding(
                    "default privileges",
                    f"PUBLIC will have EXECUTE on the functions that {who} makes",
                    f'ALTER DEFAULT PRIVILEGES FOR ROLE "{who}" REVOKE ALL ON ROUTINES FROM PUBLIC',
                )

    async def _triggers(self) -> AsyncIterator[Finding]:
        found = {row["name"]: row for row in await self._fetch("triggers")}
        for name, definition in TRIGGERS.items():
            table, trigger = name.split(".")
            always = f"ALTER TABLE ledger.{table} ENABLE ALWAYS TRIGGER {trigger}"
            row = found.pop(name, None)
            if row is None:
                yield Finding(f"trigger {name}", "is not there", f"{definition}; {always}")
            elif row["definition"] != definition:
                problem = f"is another than it was: {row['definition']}"
                fix = f"DROP TRIGGER {trigger} ON ledger.{table}; {definition}; {always}"
                yield Finding(f"trigger {name}", problem, fix)
            elif row["enabled"] != "A":
                yield Finding(f"trigger {name}", _STATES[row["enabled"]], always)
        for name, row in found.items():
            table, trigger = name.split(".", 1)
            problem = f"no migration made it: {row['definition']}"
            yield Finding(f"trigger {name}", problem, f'DROP TRIGGER "{trigger}" ON ledger.{table}')
        for (detour,) in await self._fetch("detours"):
            yield Finding(detour, "no migration made it", "Find out who did, and what it hid or changed")

    async def _constraints(self) -> AsyncIterator[Finding]:
        found = {row["name"]: row["holds"] for row in await self._fetch("constraints")}
        for name in CONSTRAINTS:
            if not found.get(name):
                problem = "is not validated" if name in found else "is not there"
                yield Finding(f"constraint {name}", problem, _RESTORE)

    async def _routines(self) -> AsyncIterator[Finding]:
        expected = routines()
        seen: set[str] = set()
        for row in await self._fetch("routines"):
            name = row["name"]
            if name not in expected or name in seen:
                problem = "no migration made it, or not with these arguments"
                yield Finding(f"function {name}", problem, "Find out who did; drop it")
                continue
            seen.add(name)
            for finding in _routine_findings(name, expected[name], row):
                yield finding
        for name in sorted(expected.keys() - seen):
            yield Finding(f"function {name}", "is not there", _again(expected[name]))

    async def _settings(self) -> AsyncIterator[Finding]:
        settings: dict[str, str] = dict(await self._fetch("session_settings"))
        if settings["synchronous_commit"] not in _DURABLE:
            yield _commits_unflushed(settings["synchronous_commit"], f"database {self.database.name}")
        if settings["session_replication_role"] != "origin":
            yield Finding(
                "setting session_replication_role",
                f"is {settings['session_replication_role']} for every session of this database",
                f'ALTER DATABASE "{self.database.name}" RESET session_replication_role',
            )

    async def _contents(self) -> list[Finding]:
        """What the tables say of themselves; each question by itself, for any of them may be damaged."""
        found: list[Finding] = []
        for ask in (self._identity, self._log, self._commitment):
            try:
                async with self.connection.transaction():
                    found += await ask()
            except POSTGRES_ERRORS as error:
                what = ask.__name__.removeprefix("_")
                found.append(Finding(what, f"could not be asked: {error}", "See the other findings"))
        return found

    async def _identity(self) -> list[Finding]:
        tenants = [row[0] for row in await self._fetch("identity")]
        if tenants == [self.database.tenant_id]:
            return []
        found = f"the database says it is {tenants[0]!r}'s" if tenants else "it does not say whose it is"
        return [Finding("identity", found, "Do not work here: correct the catalogue, or restore it")]

    async def _log(self) -> list[Finding]:
        [(head, last)] = await self._fetch("log")
        if head == last:
            return []
        problem = f"head is at position {head}, the last event at {last}"
        return [Finding("head", problem, "Events were taken away or put in by hand. " + _RESTORE)]

    async def _commitment(self) -> list[Finding]:
        salt, payload = bytes(range(16)), b'{"a":1}'
        computed = await self.connection.fetchval(_SQL["commitment"], salt, payload)
        if computed == sha256(b"daicho:payload:v1\x00" + salt + payload).digest():
            return []
        name = "payload_commitment_v1"
        return [Finding(f"function {name}", "computes something else", _again(routines()[name]))]


def _routine_findings(name: str, expected: Routine, row: Any) -> Iterable[Finding]:
    guard, settings = f"function {name}", list(row["settings"])
    if row["is_definer"] != expected.is_definer:
        word = "SECURITY DEFINER" if expected.is_definer else "SECURITY INVOKER"
        yield Finding(guard, f"is not {word}", f"ALTER ROUTINE ledger.{name} {word}")
    if sorted(settings) != sorted(expected.settings):
        pinned = "; ".join(expected.settings) or "nothing"
        problem = f"is pinned to {'; '.join(settings) or 'nothing'}, not to {pinned}"
        wanted = [f"SET {setting.replace('=', ' = ', 1)}" for setting in expected.settings]
        changes = (f"ALTER ROUTINE ledger.{name} {change}" for change in ["RESET ALL", *wanted])
        yield Finding(guard, problem, "; ".join(changes))
    if expected.body is not None and row["body"] != expected.body:
        yield Finding(guard, "does something else than it did when it was made", _again(expected))


def _again(routine: Routine) -> str:
    return f"Make it again as {routine.source} does"


_RESTORE = "Restore the database from a backup, or compare with one to find out what is lost"

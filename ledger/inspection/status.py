"""How tenants stand, some at a time: one that cannot be asked is told of and holds up no other."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ledger.composition import Ledger
from ledger.control.catalogue import NOT_THERE, TenantRecord
from ledger.control.migrations import head_revision, tenant_revision
from ledger.errors import DaichoError
from ledger.store.statements import load_statements
from ledger.tenant import Tenant
from projections.following.leadership import leaders
from projections.installed import Projections, installed_projections
from projections.listing import blob_usage
from projections.standing import Standing, standings

AT_ONCE = 8
STUCK_RUNS_MAX = 20

_OPERATION = ("kind", "step", "started_by", "updated_at")
_SQL = load_statements("ledger.inspection", "queries.sql")


@dataclass(frozen=True)
class Problem:
    """`fix` is a command or a sentence."""

    what: str
    fix: str


@dataclass(frozen=True)
class StuckRun:
    """A run that is open and recorded nothing for `silent_seconds`."""

    run_id: str
    step_id: str | None
    silent_seconds: float


@dataclass
class TenantStatus:
    """`head` is the last position, and so the count of events; `projected` the lowest position of its
    projections; sizes are in bytes. What could not be asked is None, and `problems` says why. `last_seal` is
    None: nothing of this version seals."""

    tenant_id: str
    name: str
    status: str
    server: str
    schema_revision: str | None = None
    head: int | None = None
    projected: int | None = None
    lag: int | None = None
    lag_seconds: float | None = None
    leader: str | None = None
    last_seal: str | None = None
    database_bytes: int | None = None
    blobs: dict[str, Any] | None = None
    projections: list[Standing] = field(default_factory=list)
    stuck_runs: list[StuckRun] = field(default_factory=list)
    operation: dict[str, Any] | None = None
    problems: list[Problem] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def statuses(ledger: Ledger, *, stuck_over_seconds: float | None = None) -> list[TenantStatus]:
    """Of every tenant that is not deleted, by id. Runs that were silent for `stuck_over_seconds` are
    problems; None asks for none. Raises StoreUnavailable where the control database is out of reach."""
    records = [record for record in await ledger.tenants.list() if record.status != "deleted"]
    led_by = await leaders(ledger.server, [record.tenant_id for record in records])
    operations = await _operations(ledger)
    projections = installed_projections()
    turns = asyncio.Semaphore(AT_ONCE)

    async def look(record: TenantRecord) -> TenantStatus:
        found = TenantStatus(record.tenant_id, record.name, record.status, record.server_name)
        found.schema_revision = record.schema_revision
        found.leader = led_by.get(record.tenant_id)
        found.operation = operations.get(record.tenant_id)
        async with turns:
            await _look_into(ledger, record, found, projections, stuck_over_seconds)
        return found

    return await asyncio.gather(*(look(record) for record in records))


async def _operations(ledger: Ledger) -> Mapping[str, dict[str, Any]]:
    rows = await ledger.tenants.catalogue.ask(_SQL["operations"])
    return {tenant_id: dict(zip(_OPERATION, values, strict=True)) for tenant_id, *values in rows}


async def _look_into(
    ledger: Ledger,
    record: TenantRecord,
    found: TenantStatus,
    projections: Projections,
    stuck_over_seconds: float | None,
) -> None:
    if found.operation is not None:
        found.problems.append(_unfinished(record.tenant_id, found.operation))
    if record.status in NOT_THERE:
        if found.operation is None:
            fix = f"daicho tenant create {record.tenant_id} {record.name!r}"
            found.problems.append(Problem("its making was interrupted", fix))
        return
    try:
        database = await ledger.tenants.database(record)
        found.schema_revision = await tenant_revision(database)
        tenant = await ledger.handle(record, database)
        try:
            await _ask(tenant, found, projections, stuck_over_seconds)
        finally:
            await tenant.close()
    except DaichoError as error:
        fix = error.fix or "daicho doctor"
        found.problems.append(Problem(f"it could not be asked: {error.problem}", fix))


async def _ask(
    tenant: Tenant, found: TenantStatus, projections: Projections, stuck_over_seconds: float | None
) -> None:
    if found.schema_revision != head_revision("tenant"):
        what = f"its schema is at revision {found.schema_revision}, this code at {head_revision('tenant')}"
        found.problems.append(Problem(what, "daicho migrate"))
    found.head = await tenant.store.head()
    found.database_bytes = await tenant.reader.fetchval(_SQL["database_bytes"])
    found.projections = await standings(tenant, projections)
    found.projected = min(each.position for each in found.projections)
    found.lag = max(each.lag for each in found.projections)
    found.lag_seconds = max(each.lag_seconds for each in found.projections)
    found.problems += _of_projections(found.projections)
    found.blobs = (await blob_usage(tenant)).to_dict()
    if stuck_over_seconds is not None:
        rows = await tenant.reader.fetch(_SQL["stuck_runs"], stuck_over_seconds, STUCK_RUNS_MAX)
        found.stuck_runs = [StuckRun(row[0], row[1], round(row[2], 1)) for row in rows]
        found.problems += [
            Problem(
                f"run {run.run_id} is silent since {run.silent_seconds:.0f} s",
                f"daicho timeline {run.run_id} -t {tenant.tenant_id}",
            )
            for run in found.stuck_runs
        ]


def _of_projections(found: Sequence[Standing]) -> list[Problem]:
    problems = []
    for each in found:
        if each.lag < 0:
            what = f"projection {each.projection} is ahead of the log: an older backup was restored"
            problems.append(Problem(what, each.fix or "daicho rebuild"))
        elif each.state in {"stopped", "outdated"}:
            what = f"projection {each.projection} is {each.state}"
            problems.append(Problem(what, each.fix or "daicho doctor"))
    return problems


def _unfinished(tenant_id: str, operation: Mapping[str, Any]) -> Problem:
    what = f"{operation['kind']} is at the step {operation['step']}"
    again = f"daicho tenant {operation['kind']} {tenant_id}, again"
    if (
        operation["kind"] == "import"
    ):  # `daicho import` or `daicho tenant import`, of a file that nobody noted
        again = f"the import --as {tenant_id}, again, or daicho tenant delete {tenant_id} --yes"
    return Problem(what, f"where nobody is at it: {again}")

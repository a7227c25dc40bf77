"""Move: a tenant's database to another server, while its writers go on for nearly all of the time.

    claiming   the target must hold no database of this name
    copying    the database is made at the target; log and tables are copied while writers append
    fenced     writers are kept out of the source; what came since is copied, and everything is compared
    dropping   the catalogue names the target: writers and readers go on there; the source's database goes

Asked for again after a kill, it goes on from the step it was at. Where the copy is not equal, or
`cancel_move` is called before the switch, the tenant stays where it was and the target's database goes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ledger.composition import Ledger
from ledger.control.catalogue import TenantRecord
from ledger.control.fence import keep_writers_out, let_writers_in
from ledger.control.operations import Operation, operating, state_of
from ledger.control.placement import choose_server
from ledger.control.provisioning import provision
from ledger.errors import TenantBusy, TenantConflict, TenantCopyDiffers
from ledger.lifecycle.databases import database_exists, drop_database, head_of_database
from ledger.lifecycle.log_copy import (
    copy_events,
    copy_other_tables,
    erased_positions,
    range_digest,
    require_whole,
)
from ledger.lifecycle.progress import Progress, silent
from ledger.lifecycle.projected import catch_up, require_equal_tables
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

ROUNDS_MAX = 10
FEW_EVENTS = 2_000
"""What the last round may leave to be copied while writers wait."""
RANGE_EVENTS = 100_000

_SQL = load_statements("ledger.lifecycle", "queries.sql")


@dataclass(frozen=True)
class MoveReport:
    """`moved` is false where the tenant lived there already. `paused_seconds` is how long writers waited."""

    tenant_id: str
    server: str
    moved: bool
    position: int
    paused_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Move:
    """One tenant's database here and there. `compared` holds ranges whose digests were equal."""

    operation: Operation
    source: TenantDatabase
    target: TenantDatabase
    progress: Progress
    compared: dict[tuple[int, int], bytes]


async def move_tenant(
    ledger: Ledger,
    tenant_id: str,
    to: str,
    *,
    by: str | None = None,
    reason: str | None = None,
    progress: Progress = silent,
) -> MoveReport:
    """Moves a tenant, active or suspended, to the server named `to`.

    Raises TenantNotFound, ServerNotFound, NoServerForTenant, TenantBusy, TenantConflict where the target
    holds a database of this name, TenantCopyDiffers, StoreUnavailable.
    """
    record = await ledger.tenants.catalogue.get(tenant_id)
    state = await state_of(ledger.tenants.catalogue, tenant_id, "move")
    if state is None:
        if record.server_name == to:
            head = await head_of_database(await ledger.tenants.servers.database(record))
            return MoveReport(tenant_id, to, moved=False, position=head)
        choose_server([(await ledger.tenants.servers.find(to)).load], to)
        state = {"from": record.server_name, "to": to, "was": record.status}
    elif state["to"] != to:
        raise _moving_elsewhere(tenant_id, state["to"])
    catalogue = ledger.tenants.catalogue
    async with operating(catalogue, tenant_id, "move", "claiming", state=state, by=by) as operation:
        move = await _move_of(ledger, record, operation, progress)
        paused, position = 0.0, 0
        try:
            if operation.step == "claiming":
                await _claim(move)
            if operation.step == "copying":
                await _copy(move)
            if operation.step == "fenced":
                paused, position = await _switch(move, reason)
        except (TenantCopyDiffers, TenantConflict) as error:
            await _take_back(move, "tenant.move_failed", reason=error.problem)
            raise
        await drop_database(move.source)
        await operation.end(state["was"])
    position = position or await head_of_database(move.target)
    return MoveReport(tenant_id, to, moved=True, position=position, paused_seconds=round(paused, 3))


async def cancel_move(ledger: Ledger, tenant_id: str, *, by: str | None = None) -> None:
    """Takes an interrupted move back: writers go on where they were, the target's database goes. Raises
    TenantConflict where no move is under way or it was switched already."""
    record = await ledger.tenants.catalogue.get(tenant_id)
    state = await state_of(ledger.tenants.catalogue, tenant_id, "move")
    if state is None:
        raise TenantConflict(f"No move of tenant {tenant_id!r} is under way", fix="Nothing was changed")
    catalogue = ledger.tenants.catalogue
    async with operating(catalogue, tenant_id, "move", "claiming", state=state, by=by) as operation:
        if operation.step == "dropping":
            raise TenantConflict(
                f"Tenant {tenant_id!r} lives on server {state['to']} already",
                fix=f"Finish it with `daicho tenant move {tenant_id} --to {state['to']}`, then move it back",
            )
        move = await _move_of(ledger, record, operation, silent)
        await _take_back(move, "tenant.move_cancelled", by=by)


def _moving_elsewhere(tenant_id: str, to: str) -> TenantBusy:
    return TenantBusy(
        f"Tenant {tenant_id!r} is being moved to server {to}",
        fix=f"Finish it with `daicho tenant move {tenant_id} --to {to}`, or take it back with --cancel",
    )


async def _move_of(ledger: Ledger, record: TenantRecord, operation: Operation, progress: Progress) -> _Move:
    source, target = [
        record.database_on(await ledger.tenants.servers.get(operation.state[end])) for end in ("from", "to")
    ]
    return _Move(operation, source, target, progress, {})


async def _claim(move: _Move) -> None:
    if await database_exists(move.target):
        raise TenantConflict(
            f"Server {move.operation.state['to']} holds a database {move.target.name} already",
            fix="The two names may be one server; or drop what somebody left there. Nothing was changed",
        )
    await move.operation.advance("copying")


async def _copy(move: _Move) -> None:
    """Round after round, each shorter than the one before, until little is left."""
    await provision(move.target)
    await keep_writers_out(move.target)
    for _ in range(ROUNDS_MAX):
        copied = await _copy_events(move)
        await catch_up(move.target)
        if copied <= FEW_EVENTS:
            break
    await _compare_log(move)
    await move.operation.advance("fenced", status="moving")


async def _switch(move: _Move, reason: str | None) -> tuple[float, int]:
    """Returns how many seconds writers waited, and the head."""
    begin = asyncio.get_running_loop().time()
    await keep_writers_out(move.source)
    before = await head_of_database(move.target)
    await _copy_events(move)
    await _copy_other_tables(move)
    await asyncio.gather(catch_up(move.source), catch_up(move.target))
    head = await _compare_log(move, also_erased_after=before)
    await require_equal_tables(move.source, move.target)
    state = move.operation.state
    if state["was"] == "active":
        await let_writers_in(move.target)
    details = {"from": state["from"], "to": state["to"], "position": head}
    async with move.operation.advancing("dropping") as connection:
        await connection.execute(_SQL["set_place"], move.source.tenant_id, state["to"], state["was"])
        await move.operation.record(connection, "tenant.moved", reason=reason, details=details)
    return asyncio.get_running_loop().time() - begin, head


async def _take_back(move: _Move, action: str, *, by: str | None = None, reason: str | None = None) -> None:
    if move.operation.step != "claiming":  # what is there before that step is somebody else's
        await drop_database(move.target)
    if move.operation.state["was"] == "active":
        await let_writers_in(move.source)
    await move.operation.take_back(move.operation.state["was"], action, by=by, reason=reason)


async def _copy_events(move: _Move) -> int:
    reader, owner = await _both(move, Role.READER, Role.OWNER)
    try:
        return await copy_events(reader, owner, lambda done, total: move.progress("events", done, total))
    finally:
        await _close(reader, owner)


async def _copy_other_tables(move: _Move) -> None:
    reader, owner = await _both(move, Role.OWNER, Role.OWNER)
    try:
        await copy_other_tables(reader, owner)
    finally:
        await _close(reader, owner)


async def _compare_log(move: _Move, *, also_erased_after: int | None = None) -> int:
    """Every range of the log that was not found equal before, and those that something was erased in since.
    Returns the head that both have."""
    source, target = await _both(move, Role.READER, Role.OWNER)
    try:
        head = await head_of_database(move.target)
        erased = [] if also_erased_after is None else await erased_positions(target, also_erased_after, head)
        for first, last in _ranges(head):
            if (first, last) in move.compared and not any(first < position <= last for position in erased):
                continue
            found = await asyncio.gather(range_digest(source, first, last), range_digest(target, first, last))
            if found[0] != found[1]:
                raise TenantCopyDiffers(
                    f"The copied log of tenant {move.source.tenant_id!r} differs",
                    expected=f"equal events at positions {first + 1} to {last}",
                    fix="Move it again; the tenant stays where it was",
                )
            move.compared[first, last] = found[0]
        if also_erased_after is not None:
            await _require_same_head(move, head)
            await require_whole(target, f"tenant {move.target.tenant_id!r} at its new server")
    finally:
        await _close(source, target)
    return head


async def _require_same_head(move: _Move, head: int) -> None:
    theirs = await head_of_database(move.source)
    if theirs != head:
        raise TenantCopyDiffers(
            f"The copied log of tenant {move.source.tenant_id!r} has another end",
            expected=f"position {theirs}",
            found=f"position {head}",
            fix="Move it again; the tenant stays where it was",
        )


def _ranges(head: int) -> list[tuple[int, int]]:
    return [(first, min(first + RANGE_EVENTS, head)) for first in range(0, head, RANGE_EVENTS)]


async def _both(move: _Move, here: Role, there: Role) -> Sequence[Connection]:
    source = await move.source.connect(here)
    try:
        return source, await move.target.connect(there)
    except BaseException:
        source.terminate()
        raise


async def _close(*connections: Connection) -> None:
    for connection in connections:
        await connection.close()

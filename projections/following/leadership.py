"""Leadership: which tenants this process leads, by advisory locks on the control database.

One connection holds all locks of a process; they go when it goes, however the process ends. A leader that was
cut off and does not know it yet does no harm: a checkpoint is compared and set (projector.py).
"""

import asyncio
import os
import socket
from collections.abc import Callable, Collection
from math import ceil
from typing import Any

from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection, DatabaseServer
from ledger.store.statements import load_statements

ASK_SECONDS_MAX = 10.0
PATIENCE_ROUNDS = 3
"""A tenant that stays without a leader so long is taken beyond the fair share."""

_SQL = load_statements("projections.following", "queries.sql")
_KEEPALIVES = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}


class Leadership:
    """`group` names what is followed: processes of one group take equal shares."""

    def __init__(self, server: DatabaseServer, group: str) -> None:
        self.led: set[str] = set()
        self._server = server
        self._group = group
        self._connection: Connection | None = None
        self._rounds_without: dict[str, int] = {}

    @property
    def is_held(self) -> bool:
        """False once the connection, and with it every lock, is gone."""
        return self._connection is not None and not self._connection.is_closed()

    async def open(self, lost: Callable[[], None]) -> None:
        """Connects; `lost` is called when the connection ends. Raises StoreUnavailable."""
        name = f"daicho follow {socket.gethostname()}:{os.getpid()}"[:63]
        connection = await self._server.connect(application_name=name, **_KEEPALIVES)
        connection.add_termination_listener(lambda _connection: lost())
        self._connection = connection
        self.led.clear()
        await self._ask("join", self._group)

    async def take(self, tenant_ids: Collection[str]) -> set[str]:
        """Leads tenants that have no leader, up to a fair share of `tenant_ids`; returns those it took."""
        free = [tenant_id for tenant_id in tenant_ids if tenant_id not in self.led]
        if not free:
            return set()
        share = await self._share(len(tenant_ids))
        taken = await self._try_lead(free, max(0, share - len(self.led)))
        left = [tenant_id for tenant_id in free if tenant_id not in taken]
        waited = {tenant_id: self._rounds_without.get(tenant_id, 0) + 1 for tenant_id in left}
        stale = [tenant_id for tenant_id, rounds in waited.items() if rounds > PATIENCE_ROUNDS]
        taken |= await self._try_lead(stale, len(stale))
        self._rounds_without = {key: rounds for key, rounds in waited.items() if rounds <= PATIENCE_ROUNDS}
        return taken

    async def surplus(self, tenant_ids: Collection[str]) -> set[str]:
        """Led tenants that are not followed any more, and those beyond the fair share."""
        gone = self.led - set(tenant_ids)
        kept = sorted(self.led - gone)
        share = await self._share(len(tenant_ids))
        return gone | set(kept[share:])

    async def cease(self, tenant_id: str) -> None:
        self.led.discard(tenant_id)
        await self._ask("cease_to_lead", tenant_id)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()  # the server lets go of the locks when the socket closes
            self._connection = None
        self.led.clear()

    async def _share(self, tenants: int) -> int:
        [row] = await self._ask("count_peers", self._group)
        peers: int = row[0]
        return ceil(tenants / max(1, peers))

    async def _try_lead(self, tenant_ids: list[str], count: int) -> set[str]:
        if not tenant_ids or count <= 0:
            return set()
        taken = {row[0] for row in await self._ask("try_lead", tenant_ids, count)}
        self.led |= taken
        return taken

    async def _ask(self, statement: str, *arguments: Any) -> list[Any]:
        assert self._connection is not None
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                rows: list[Any] = await self._connection.fetch(_SQL[statement], *arguments)
                return rows
        except POSTGRES_ERRORS as error:
            raise store_error(error, "leading", self._server.name) from error


async def leaders(server: DatabaseServer, tenant_ids: Collection[str]) -> dict[str, str]:
    """Who leads which of these tenants; those without a leader are not in it."""
    connection = await server.connect()
    try:
        rows = await connection.fetch(_SQL["leaders"], list(tenant_ids))
    except POSTGRES_ERRORS as error:
        raise store_error(error, "asking for leaders", server.name) from error
    finally:
        await connection.close()
    return {row[0]: row[1].removeprefix("daicho follow ") for row in rows}

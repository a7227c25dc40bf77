"""Placement: on which database server a new tenant's database is made.

The rule, whole: the server that was named; else, of those that accept new tenants and are not full, the one
with the fewest tenants, and of several such the first by name. Nothing else is tried where none is left, nor
where the named one is closed or full.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.errors import NoServerForTenant, ServerNotFound


@dataclass(frozen=True)
class ServerLoad:
    """`tenants_max` None: no bound."""

    server_name: str
    accepts_new_tenants: bool
    tenants_max: int | None
    tenants: int

    @property
    def is_full(self) -> bool:
        return self.tenants_max is not None and self.tenants >= self.tenants_max

    @property
    def takes_one_more(self) -> bool:
        return self.accepts_new_tenants and not self.is_full

    def __str__(self) -> str:
        most = "" if self.tenants_max is None else f" of {self.tenants_max}"
        state = "" if self.accepts_new_tenants else ", closed to new ones"
        return f"{self.server_name} ({self.tenants}{most} tenants{state})"


def choose_server(loads: Sequence[ServerLoad], named: str | None = None) -> str:
    """Raises ServerNotFound, NoServerForTenant."""
    if named is not None:
        found = [load for load in loads if load.server_name == named]
        if not found:
            raise server_not_found(named, [load.server_name for load in loads])
        loads = found
    open_ = [load for load in loads if load.takes_one_more]
    if not open_:
        raise NoServerForTenant(
            f"Server {named} takes no more tenants" if named else "No database server takes another tenant",
            expected="a server that accepts new tenants and is not full",
            found=", ".join(map(str, loads)),
            fix="`daicho server set NAME --tenants-max N` or `--accept`, or add one with `daicho server add`",
        )
    return min(open_, key=lambda load: (load.tenants, load.server_name)).server_name


def server_not_found(name: str, known: Sequence[str]) -> ServerNotFound:
    return ServerNotFound(
        f"There is no database server {name[:60]!r}",
        expected=f"one of {', '.join(sorted(known))}",
        fix="`daicho server list` shows all; `daicho server add` adds one",
    )

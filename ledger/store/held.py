"""HeldConnection: a connection as a session holds it. Closing it gives it back."""

from typing import Any

from ledger.store.connections import Connection, Connections
from ledger.store.postgres_errors import POSTGRES_ERRORS

RESET_SECONDS_MAX = 5.0


class HeldConnection:
    """Everything but its end is asyncpg's connection's own; SQLAlchemy cannot tell the difference."""

    def __init__(self, connection: Connection, connections: Connections) -> None:
        self._connection = connection
        self._connections = connections

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def close(self, *, timeout: float | None = None) -> None:
        """Given back as it was made: without settings, locks or cursors of this session."""
        try:
            if not self._connection.is_closed():
                await self._connection.reset(timeout=timeout or RESET_SECONDS_MAX)
        except POSTGRES_ERRORS:
            self._connection.terminate()
        except BaseException:
            self._connection.terminate()
            raise
        finally:
            self._connections.release(self._connection)

    def terminate(self) -> None:
        self._connection.terminate()

"""What PostgreSQL and the socket say, as typed errors: out of reach, or refused for good."""

import asyncpg

from ledger.errors import BlobCollected, DaichoError, StoreError, StoreUnavailable

# SQLSTATE classes (PostgreSQL documentation, appendix A) after which the same call may succeed.
_TEMPORARY_CLASSES = ("08", "40", "53", "57P")
_TEMPORARY_STATES = ("57014", "55P03")  # query_canceled (statement_timeout), lock_not_available

CONNECTION_LOST: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says of a connection that ended between two calls
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)
"""After these the connection is of no use, and a new one may work."""

POSTGRES_ERRORS: tuple[type[BaseException], ...] = (*CONNECTION_LOST, asyncpg.PostgresError)


def store_error(error: BaseException, doing: str, server: str) -> DaichoError:
    """The typed error for `error`, met while `doing` something at `server` (no password in it)."""
    if isinstance(error, DaichoError):
        return error
    if getattr(error, "sqlstate", None) == "DA006":
        return BlobCollected(
            f"Blob {getattr(error, 'detail', '')} was collected as garbage since it was put",
            fix="Put the artifact's content again; nothing was recorded",
        )
    said = str(error) or type(error).__name__
    if is_temporary(error):
        return StoreUnavailable(
            f"PostgreSQL at {server} is out of reach or refuses work while {doing}: {said}",
            fix="Check that the server runs, has room and accepts connections; nothing else was tried",
        )
    return StoreError(f"PostgreSQL at {server} refused while {doing}: {said}")


def is_temporary(error: BaseException) -> bool:
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_TEMPORARY_CLASSES) or state in _TEMPORARY_STATES
    return isinstance(error, CONNECTION_LOST)

"""The one outcome of starting a server that waiting may cure."""

from ledger.errors import EmbeddedServerError

__all__ = ["EmbeddedServerBusy"]


class EmbeddedServerBusy(EmbeddedServerError):
    """The server, or the process that is starting it, did not get ready within the deadline. It was
    left alone: a long crash recovery goes on, and a later start finds it further ahead."""

    retryable = True

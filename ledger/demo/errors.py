"""What keeps the demo from starting."""

from ledger.errors import DaichoError


class NoTexts(DaichoError, LookupError):
    """There is no text file to work on."""


class DemoExtraMissing(DaichoError, ImportError):
    """A library of the extra `daicho[demo]` is not installed."""

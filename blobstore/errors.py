"""The base of every error of the product, and the errors of the blob store.

`DaichoError` stands here because this is the lowest package: everything above may import it,
so that `except DaichoError` catches whatever daicho raises on purpose.
"""

from typing import Any, ClassVar


class DaichoError(Exception):
    """An expected trouble, told to its reader: what went wrong, what was expected, what was
    found, what to do, and whether trying the same call again can help (`retryable`)."""

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        problem: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected
        self.found = found
        self.fix = fix

    def __str__(self) -> str:
        sentences = [self.problem]
        if self.expected is not None:
            sentences.append(f"Expected {self.expected}")
        if self.found is not None:
            sentences.append(f"Found {self.found}")
        if self.fix is not None:
            sentences.append(self.fix)
        sentences.append("Retrying may help" if self.retryable else "Retrying will not help")
        return " ".join(text if text.endswith((".", "?", "!")) else f"{text}." for text in sentences)

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments do not survive Exception's own pickling; process pools need it.
        return (_rebuild_error, (type(self), self.problem, dict(self.__dict__)))


def _rebuild_error(cls: type[DaichoError], problem: str, state: dict[str, Any]) -> DaichoError:
    error = cls.__new__(cls, problem)
    error.args = (problem,)
    error.__dict__.update(state)
    return error


class BlobError(DaichoError):
    """Base of what a blob store raises."""


class InvalidDigest(BlobError, ValueError):
    """A digest is 64 lower-case hexadecimal digits (sha256, FIPS 180-4)."""


class BlobNotFound(BlobError, LookupError):
    """No blob with this digest is in the store."""


class BlobCorrupt(BlobError):
    """The stored bytes do not hash to the digest they are filed under."""


class BlobAccessDenied(BlobError):
    """The store is there and refuses these credentials."""


class BlobStoreMissing(BlobError):
    """The store is there, its bucket or folder is not: `daicho init` makes it."""


class BlobStoreUnavailable(BlobError):
    """The store is out of reach or failing for the moment."""

    retryable = True


class BlobStoreMisconfigured(BlobError, ValueError):
    """A setting cannot be right: an endpoint with a scheme, a prefix or bucket name that is no name,
    or an endpoint at which something answers that is no S3 server."""


class BlobUrlUnsupported(BlobError):
    """This store has no server that could answer a URL."""


class BlobRetained(BlobError):
    """The blob is locked until a date, and cannot be removed before."""


class BlobRequestRefused(BlobError):
    """The store answered, and said no for a reason that is none of the above; the message has its code."""

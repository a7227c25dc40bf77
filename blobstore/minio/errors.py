"""What an S3 server, the minio SDK or the wire says, told as blob errors that name the endpoint.

Nothing here quotes a key: the SDK's exceptions carry the server's answer, never our request. Answers that are
no XML are not quoted either, as they may be any proxy's page.
"""

from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, SSLError

from blobstore.errors import (
    BlobAccessDenied,
    BlobError,
    BlobRequestRefused,
    BlobStoreMisconfigured,
    BlobStoreMissing,
    BlobStoreUnavailable,
)

TROUBLE = (MinioException, HTTPError, ParseError, UnicodeDecodeError)
"""What a call of the SDK raises when it fails. The last two: a broken answer, which it decodes unguarded."""


class BadAnswer(MinioException):
    """A success that tells of a failure; the message says which."""


_DENIED = {
    "AccessDenied",
    "AccountProblem",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}

# The first three: the bytes that arrived are not those we sent, so sending them again is the cure.
_PASSING = {
    "BadDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
    "IncompleteBody",
    "RequestTimeout",
    "SlowDown",
    "OperationAborted",
    "ConditionalRequestConflict",
}


def tell(error: Exception, endpoint: str, bucket: str) -> BlobError:
    """The blob error that says the same. `error` is one of TROUBLE."""
    match error:
        case S3Error():
            return _tell_answer(error, endpoint, bucket)
        case InvalidResponseError():
            return _tell_status(error._code, endpoint, bucket)
        case BadAnswer():
            return _unavailable(endpoint, str(error), None)
        case ServerError():
            return _tell_status(error.status_code, endpoint, bucket)
        case SSLError():
            return _unavailable(
                endpoint,
                f"a failed TLS handshake ({error})",
                "Check `use_ssl` (MINIO_USE_SSL) and who vouches for the server (MINIO_CA_FILE)",
            )
        case HTTPError():
            return _unavailable(endpoint, type(error).__name__, "Check that it runs and can be reached")
        case _:
            return _unavailable(endpoint, "an answer that cannot be read", None)


def _tell_answer(error: S3Error, endpoint: str, bucket: str) -> BlobError:
    code = error.code or "no code"
    status = error.response.status
    found = f"{code} (HTTP {status})"
    if code == "NoSuchBucket":
        return BlobStoreMissing(
            f"There is no bucket {bucket} at {endpoint}",
            expected="a bucket",
            found=found,
            fix="Run `daicho init`, which makes it",
        )
    if code == "RequestTimeTooSkewed":
        return _denied(endpoint, bucket, found, "Set this machine's clock, or the server's: they differ")
    if code in _DENIED or status in {401, 403}:
        return _denied(endpoint, bucket, found, "Check the access key, the secret key and the user's policy")
    if code in _PASSING or status >= 500 or status == 429:
        return _unavailable(endpoint, found, None)
    return BlobRequestRefused(
        f"The S3 server at {endpoint} refused a request to bucket {bucket}", found=found
    )


def _tell_status(status: int, endpoint: str, bucket: str) -> BlobError:
    found = f"HTTP {status} without an S3 answer"
    if status in {401, 403}:
        return _denied(endpoint, bucket, found, "Check the keys, and whether a proxy stands in between")
    if status >= 500 or status == 429:
        return _unavailable(endpoint, found, None)
    return BlobStoreMisconfigured(
        f"What answers at {endpoint} does not speak S3",
        expected="an S3 server",
        found=found,
        fix="Check host, port and `use_ssl`",
    )


def _unavailable(endpoint: str, found: str, fix: str | None) -> BlobStoreUnavailable:
    return BlobStoreUnavailable(
        f"The S3 server at {endpoint} is out of reach or failing", found=found, fix=fix
    )


def _denied(endpoint: str, bucket: str, found: str, fix: str) -> BlobAccessDenied:
    return BlobAccessDenied(
        f"The S3 server at {endpoint} refuses these credentials for bucket {bucket}", found=found, fix=fix
    )

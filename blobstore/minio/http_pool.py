"""The HTTP connections under the minio SDK: bounded in number and patience, never retrying by themselves.

urllib3's own retries are off because they repeat a request whose answer was lost: with a condition on it, a
store's own success then comes back as 412. Whoever knows what a request means retries it (`connection.py`).
"""

import os
import ssl
from pathlib import Path
from typing import Any

import certifi
import urllib3
from urllib3.response import BaseHTTPResponse

from blobstore.errors import BlobStoreMisconfigured
from blobstore.minio.spool import Part

BLOCK_BYTES = 256 * 1024


class HttpPool(urllib3.PoolManager):
    """A PoolManager that keeps `connections_max` connections. Timeouts are in seconds, per socket
    operation."""

    def __init__(
        self,
        *,
        connections_max: int,
        connect_timeout: float,
        read_timeout: float,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            maxsize=connections_max,
            blocksize=BLOCK_BYTES,
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            retries=False,
            ssl_context=trust,
        )

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> BaseHTTPResponse:  # type: ignore[override]
        """As PoolManager.urlopen, with a body that is bytes, or a Part, which is sent block by block.

        A whole body goes out in one `sendall`, and urllib3 gives all of that the connect timeout: 3 s would
        have to do for 64 MiB on any line. In blocks, the timeout is for each.
        """
        if isinstance(body := kw.get("body"), Part):
            kw["body"] = iter(body)  # its length stands in the headers
        return super().urlopen(method, url, redirect, **kw)


def trust_of(ca_file: Path | None) -> ssl.SSLContext:
    """Which servers to believe over TLS: those whose certificate `ca_file` (PEM) vouches for, and no others;
    without one, those of SSL_CERT_FILE or of the certifi package. Raises BlobStoreMisconfigured."""
    source = ca_file or os.environ.get("SSL_CERT_FILE") or certifi.where()
    try:
        return ssl.create_default_context(cafile=str(source))
    except (OSError, ssl.SSLError) as error:
        raise BlobStoreMisconfigured(
            f"There are no certificates to trust in {source}",
            expected="a file with one or more CA certificates, as PEM",
            found=error.strerror or type(error).__name__,
            fix="Correct the path, or the file",
        ) from error

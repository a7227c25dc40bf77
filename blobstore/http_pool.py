"""The HTTP connections under the minio SDK: bounded in number and patience, never retrying by themselves.

urllib3's own retries are off because they repeat a request whose answer was lost: with a condition on it, a
store's own success then comes back as 412. Whoever knows what a request means retries it (`minio.py`).
"""

import os
from io import BytesIO
from typing import Any

import certifi
import urllib3
from urllib3.response import BaseHTTPResponse

CONNECTIONS_MAX = 64
BLOCK_BYTES = 256 * 1024


class HttpPool(urllib3.PoolManager):
    """A PoolManager that keeps CONNECTIONS_MAX connections. Timeouts are in seconds, per socket operation."""

    def __init__(self, *, connect_timeout: float, read_timeout: float) -> None:
        super().__init__(
            maxsize=CONNECTIONS_MAX,
            blocksize=BLOCK_BYTES,
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> BaseHTTPResponse:  # type: ignore[override]
        """As PoolManager.urlopen, with a body that is sent block by block.

        A whole body goes out in one `sendall`, and urllib3 gives all of that the connect timeout: 3 s would
        have to do for 64 MiB on any line. In blocks, the timeout is for each.
        """
        if kw.get("body"):
            kw["body"] = BytesIO(kw["body"])
        return super().urlopen(method, url, redirect, **kw)

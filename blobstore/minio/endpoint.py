"""An *endpoint* is `host` or `host:port` of an S3 server, as MinIO's own tools write it: no scheme, no path.

Whether it is spoken to over TLS is the separate setting `use_ssl`.
"""

import re

from blobstore.errors import BlobStoreMisconfigured

_SHAPE = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def parse_endpoint(text: str) -> str:
    """The text, checked. Raises BlobStoreMisconfigured, which says what to write instead."""
    if _SHAPE.fullmatch(text):
        return text
    fix = "Write the host and the port alone"
    if "://" in text:
        fix = "Leave the scheme and the path out; whether to use TLS is the setting `use_ssl`"
    raise BlobStoreMisconfigured(
        "This cannot be the endpoint of an S3 server",
        expected="host:port, as in localhost:9000",
        # Before an @ stands a user name and often a password.
        found="a text with an @ in it" if "@" in text else ascii(text)[:80],
        fix=fix,
    )

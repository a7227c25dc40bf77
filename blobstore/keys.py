"""A *key* is where a blob lies under a bucket or a root folder, the same for every backend:

    <prefix>/sha256/<first two digits>/<digest>      acme_1/sha256/9f/9f86d081884c7d65...

A *prefix* is one tenant's part of the store. A store is made for one prefix and takes only digests from its
callers; neither can hold a slash or a dot, so no input reaches another prefix's keys.
"""

import re

from blobstore.digest import Digest, parse_digest
from blobstore.errors import BlobStoreMisconfigured

_PREFIX_SHAPE = re.compile(r"[a-z0-9_]{1,64}")


def parse_prefix(text: str) -> str:
    """The text, checked to be a prefix. Raises BlobStoreMisconfigured unless it is `[a-z0-9_]{1,64}`."""
    if not isinstance(text, str) or not _PREFIX_SHAPE.fullmatch(text):
        raise BlobStoreMisconfigured(
            "This cannot be the prefix of a blob store",
            expected="1 to 64 of a-z, 0-9 and _",
            found=ascii(text)[:80],
        )
    return text


def blob_folder(prefix: str) -> str:
    """What every key of a prefix begins with, before the next slash. Raises BlobStoreMisconfigured."""
    return f"{parse_prefix(prefix)}/sha256"


def blob_key(prefix: str, digest: Digest) -> str:
    """The key of a blob. Checks both parts again, as types are only a promise at run time.

    Raises InvalidDigest, BlobStoreMisconfigured.
    """
    checked = parse_digest(digest)
    return f"{blob_folder(prefix)}/{checked[:2]}/{checked}"

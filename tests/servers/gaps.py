"""What the S3 servers of the tests lack, and why; `tests/blobstore/test_server_gaps.py` asks them.

A feature that stands here and works fails the test, as does one that does not stand here and does not work.
Servers named by the user are asked too; what they lack is listed as skipped.
"""

CREATE_ONLY = "a put with If-None-Match: * never replaces what is there"
CHECKSUM_CHECKED = "a put is refused where x-amz-checksum-sha256 is not the hash of its body"
CHECKSUM_TOLD = "the sha256 that came with a put is told again by HEAD"
LOCK = "an object can be locked until a date, and its version then not be deleted"
DELETE_IF_UNMODIFIED = "a delete with If-Match leaves an object that was written again"
LISTS_UNFINISHED = "uploads in parts that were not completed are listed by the beginning of their keys"

GAPS: dict[str, dict[str, str]] = {
    "swift": {
        CHECKSUM_TOLD: "s3api checks the header and does not keep it",
        LOCK: "s3api answers NotImplemented: Swift has no object lock",
    },
    "ceph": {
        CHECKSUM_CHECKED: "radosgw 16 passes over the header; it checks x-amz-content-sha256 and Content-MD5",
        CHECKSUM_TOLD: "radosgw 16 does not keep the header",
        DELETE_IF_UNMODIFIED: "radosgw 16 passes over the condition",
    },
}

"""The archive of a tenant: one file that holds everything of it, readable without daicho.

A POSIX tar (IEEE 1003.1, pax), not compressed as a whole, whose members come in this order:

    manifest.json                 what this is: `Manifest`
    events/000000000001.jsonl.gz  events by position, one JSON object per line, up to 10,000 a member; the
                                  name is the first one's position
    snapshots/000000000001.jsonl.gz, tracking/000000000001.jsonl.gz
                                  what applications of the `eventsourcing` library keep beside their events
    checkpoints.json              how far each projection had come, and the digest of each of its tables
    blobs/sha256/ab/<digest>      the bodies that events refer to, as they are
    SHA256SUMS                    `<sha256>  <member>` per member before it, as sha256sum(1) reads it

SHA256SUMS comes last: an archive without it was never finished. Columns are those of `ledger.events`; bytes
(payload, salt, state) stand in base64, commitments and digests in hexadecimal, times in ISO 8601 and UTC.
Payload bytes are exact: what was committed to is what is in the archive.
"""

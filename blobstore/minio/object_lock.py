"""Object lock: what is written cannot be changed or removed until a date, by nobody or by few (S3 Object
Lock).

A bucket can lock objects if it was made so, and is then versioned: a put of what is there adds a version.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import minio
from minio.datatypes import Object
from minio.error import S3Error
from minio.retention import Retention
from minio.time import to_iso8601utc

from blobstore.errors import BlobRetained, BlobStoreMisconfigured

DAYS_MAX = 36_500

_UNLOCKABLE = {"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "NotImplemented"}
_MODE = "x-amz-object-lock-mode"
_UNTIL = "x-amz-object-lock-retain-until-date"


@dataclass(frozen=True)
class ObjectLock:
    """How what is put is locked. `governance`: those with the right to bypass it can still remove a blob;
    `compliance`: nobody can, before `days` have passed, not even the account's owner.

    Raises BlobStoreMisconfigured for another mode, or a number of days not in 1..DAYS_MAX.
    """

    mode: Literal["governance", "compliance"]
    days: int

    def __post_init__(self) -> None:
        if self.mode not in {"governance", "compliance"} or not 1 <= self.days <= DAYS_MAX:
            raise BlobStoreMisconfigured(
                "This is no object lock",
                expected=f"governance or compliance, for 1 to {DAYS_MAX} days",
                found=ascii((self.mode, self.days))[:80],
            )

    def headers(self, now: datetime) -> dict[str, str]:
        """What a put says to be locked from now on."""
        return {_MODE: self.mode.upper(), _UNTIL: to_iso8601utc(self.until(now)) or ""}

    def until(self, now: datetime) -> datetime:
        """When what is locked now is locked no more."""
        return now.astimezone(UTC) + timedelta(days=self.days)


def lock_object(client: minio.Minio, bucket: str, key: str, lock: ObjectLock, now: datetime) -> None:
    """Lock the newest version of an object that is there."""
    client.set_object_retention(bucket, key, Retention(lock.mode.upper(), lock.until(now)))


def can_lock(client: minio.Minio, bucket: str) -> bool:
    """True where the bucket was made with object lock."""
    try:
        client.get_object_lock_config(bucket)
    except S3Error as error:
        if error.code not in _UNLOCKABLE:
            raise
        return False
    return True


def remove_versions(client: minio.Minio, bucket: str, key: str) -> None:
    """Remove every version of an object, where none is locked any more. Raises BlobRetained, and removes
    none.

    Without a version named, S3 would hide the object behind a marker, and keep it.
    """
    versions = list(_versions(client, bucket, key))
    held = [until for version in versions if (until := _version_retained_until(client, bucket, key, version))]
    if held:
        raise BlobRetained(
            f"The object {key} in bucket {bucket} is locked",
            found=f"an object lock until {max(held).isoformat(timespec='seconds')}",
            fix="Delete it after that date",
        )
    for version in versions:
        client.remove_object(bucket, key, version_id=version)


def _versions(client: minio.Minio, bucket: str, key: str) -> Iterator[str]:
    for found in client.list_objects(bucket, prefix=key, include_version=True):
        if found.object_name == key and found.version_id:
            yield found.version_id


def retained_until(found: Object) -> datetime | None:
    """Until when what `stat_object` told of is locked, in UTC; None where it is not, or no more."""
    # Not by the SDK's call for it, which cannot read the nanoseconds that Ceph writes.
    told = (found.metadata or {}).get(_UNTIL)
    until = datetime.fromisoformat(told) if told else None
    return until if until and until > datetime.now(UTC) else None


def _version_retained_until(client: minio.Minio, bucket: str, key: str, version: str) -> datetime | None:
    try:
        return retained_until(client.stat_object(bucket, key, version_id=version))
    except S3Error as error:
        if error.code == "MethodNotAllowed":  # a delete marker
            return None
        raise

"""syncfs(2): one call that makes all of a file system durable, where it can be relied on to say so.

What it costs is shared by every file written before it. What it does not do everywhere: report an error
(Linux before 5.8), or reach the disk (FUSE and network file systems). There, each file is synced by itself.
"""

import ctypes
import os
import platform
import sys
from pathlib import Path

_RELIABLE = {"ext4", "xfs", "f2fs"}
_SINCE = (5, 8)


def syncfs(descriptor: int) -> None:
    """Make all that was written to the descriptor's file system durable. Raises OSError, also for what failed
    to be written by others since the descriptor was opened."""
    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def is_reliable(folder: Path) -> bool:
    """True where a success of `syncfs` means that all is on the disk."""
    return (
        sys.platform == "linux"
        and _version(platform.release()) >= _SINCE
        and _file_system_of(folder) in _RELIABLE
    )


def _version(release: str) -> tuple[int, ...]:
    numbers = release.split("-")[0].split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdigit())


def _file_system_of(folder: Path) -> str | None:
    """As in /proc/self/mountinfo (proc_pid_mountinfo(5)), where `major:minor` comes third."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return None

"""What the machine did for us: processor time of this process, its children and a PostgreSQL server with its
backends; and the memory of this process and its children. Linux only (/proc)."""

import os
import threading
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY_SECONDS = 0.2


def cpu_seconds(postmaster: int) -> float:
    """Of all processes that live, and of those that ended and were waited for."""
    # A set: the server may be a child of ours, and would count twice.
    pids = {pid for root in (os.getpid(), postmaster) for pid in [root, *_children(root)]}
    return sum(map(_cpu, pids))


def postmaster(home: Path) -> int:
    """The process of the embedded server."""
    return int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])


class Memory:
    """The most that any one of our processes held at a time, in MB of resident memory."""

    def __init__(self) -> None:
        self._most = 0.0
        self._stopped = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def stop(self) -> float:
        self._stopped.set()
        self._watch.join()
        return self._most

    def _look(self) -> None:
        while not self._stopped.wait(_EVERY_SECONDS):
            self._most = max(self._most, *(_resident(pid) for pid in [os.getpid(), *_children(os.getpid())]))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in listed.read_text().split()]
        except OSError:
            continue
    return found


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS


def _resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

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
    """The most that any one process held at a time, in MB: of ours all that is resident, of the server's what
    it shares with none."""

    def __init__(self, postmaster: int) -> None:
        self._postmaster = postmaster
        self._ours = self._of_server = 0.0
        self._stopped = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def stop(self) -> tuple[float, float]:
        self._stopped.set()
        self._watch.join()
        return self._ours, self._of_server

    def _look(self) -> None:
        while not self._stopped.wait(_EVERY_SECONDS):
            ours = {os.getpid(), *_children(os.getpid())} - {self._postmaster}
            self._ours = max(self._ours, *(_memory(pid)[0] for pid in ours))
            server = [self._postmaster, *_children(self._postmaster)]
            self._of_server = max(self._of_server, *(_memory(pid)[1] for pid in server))


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


def _memory(pid: int) -> tuple[float, float]:
    """Resident, and resident without what is shared; in MB."""
    try:
        resident, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    except OSError:
        return 0.0, 0.0
    megabyte = os.sysconf("SC_PAGE_SIZE") / 1e6
    return resident * megabyte, (resident - shared) * megabyte

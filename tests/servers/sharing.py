"""One server for all test workers of a run: started by the first that asks, stopped by the last that leaves.

    with shared_server(home / "swift", "tests.servers.swift:swift_server") as server: ...

Each user holds a shared lock on the file `users`. A *keeper* process (this module, run) holds the server, and
ends it once it gets that lock for itself alone: a run that is killed leaves nothing running either. The lock
on `door` keeps those who come and the keeper that closes apart.
"""

import fcntl
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.servers.s3_server import S3Server, ServerDidNotStart

START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 15.0
POLL_SECONDS = 0.05


@contextmanager
def shared_server(folder: Path, start: str) -> Iterator[S3Server]:
    """The server that runs in this folder. `start` names the context manager of one as `module:function`.

    Raises ServerDidNotStart.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("a") as users:
        with (folder / "door").open("a") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            if not _is_held(folder / "keeper"):
                _start_keeper(folder, start)
            fcntl.flock(users, fcntl.LOCK_SH)
        yield S3Server(**json.loads((folder / "server.json").read_text()))
    _wait_if_last(folder)


def _start_keeper(folder: Path, start: str) -> None:
    announced = folder / "server.json"
    announced.unlink(missing_ok=True)
    with (folder / "keeper.log").open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder), start],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS_MAX
    while not announced.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.terminate()
            raise ServerDidNotStart((folder / "keeper.log").read_text()[-3000:])
        time.sleep(POLL_SECONDS)


def _wait_if_last(folder: Path) -> None:
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while _is_held(folder / "keeper") and not _is_held(folder / "users") and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _is_held(lock: Path) -> bool:
    with lock.open("a") as file:
        return not _taken(file)


def _taken(file: object) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[call-overload]
    except BlockingIOError:
        return False
    return True


# --- what the keeper does -----------------------------------------------------------------------------------


def _keep(folder: Path, start: str) -> None:
    module, function = start.split(":")
    server = getattr(importlib.import_module(module), function)
    with (folder / "keeper").open("a") as keeper:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        with server() as running:
            draft = folder / "server.json.new"
            draft.write_text(json.dumps(asdict(running)))
            draft.rename(folder / "server.json")
            with (folder / "users").open("a") as users, (folder / "door").open("a") as door:
                while not (_taken(door) and _taken(users)):
                    fcntl.flock(door, fcntl.LOCK_UN)
                    time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), sys.argv[2])

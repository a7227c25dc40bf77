"""OwnServer: an embedded PostgreSQL that a test may harm, in a home of its own.

Signals go only to the postmaster that the home's postmaster.pid names while the home's server lock is
held, and to its children: nothing that this test did not start."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg

from ledger.control.embedded import EmbeddedPostgres
from ledger.control.embedded.layout import Layout
from ledger.control.embedded.locks import LockFile
from tests.support.processes import children_of
from tests.support.waiting import eventually, wait_until

SECONDS_MAX = 60.0
WAL_WRITER_WAITS_FOR = "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'walwriter'"


class OwnServer:
    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.layout = Layout.of(home)
        self._settings = settings
        self._claims: list[EmbeddedPostgres] = []

    def start(self) -> None:
        """Starts it where it does not run. Other claims on the home are valid as they were."""
        self._claims.append(EmbeddedPostgres.start(self.home, settings=self._settings))

    async def restart(self, how: signal.Signals, *, pause_seconds: float = 0.3) -> None:
        """The postmaster gets `how`; somebody starts it again after a pause."""
        ended = self.postmaster
        os.kill(ended, how)
        await eventually(self.is_vacant, SECONDS_MAX)
        await asyncio.sleep(pause_seconds)
        await asyncio.to_thread(self.start)
        assert self.postmaster != ended

    @property
    def postmaster(self) -> int:
        return int(self.layout.postmaster_pid.read_text().split()[0])

    def is_vacant(self) -> bool:
        """Whether no process of the server lives, on the kernel's word."""
        with LockFile(self.layout.server_lock) as lock:
            return lock.try_exclusive()

    def crash(self) -> None:
        """As when the power fails: no process of it gets to write another byte."""
        postmaster = self.postmaster
        os.kill(postmaster, signal.SIGSTOP)
        for child in children_of(postmaster):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        os.kill(postmaster, signal.SIGKILL)

    async def cut_the_power(self) -> None:
        """It crashes, and somebody starts it again."""
        self.crash()
        await eventually(self.is_vacant, SECONDS_MAX)
        await asyncio.to_thread(self.start)

    async def hold_wal_writer(self) -> None:
        """From here on only those flush who ask for it. It is held where it waits for work: one that is
        flushing has the lock that everybody's flush needs."""
        writer = self._wal_writer()
        connection = await asyncpg.connect(**self._claims[0].connect_kwargs("postgres"))
        try:
            while True:
                os.kill(writer, signal.SIGSTOP)
                if await connection.fetchval(WAL_WRITER_WAITS_FOR) == "WalWriterMain":
                    return
                os.kill(writer, signal.SIGCONT)
                await asyncio.sleep(0.01)
        finally:
            await connection.close()

    def _wal_writer(self) -> int:
        for child in children_of(self.postmaster):
            if b"walwriter" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        raise AssertionError("there is no walwriter to hold")

    def close(self) -> None:
        """Leaves nothing running, whatever the test did."""
        if self.layout.server_lock.exists() and not self.is_vacant():
            with suppress(FileNotFoundError, ProcessLookupError):
                self.crash()
            wait_until(self.is_vacant, SECONDS_MAX)
        for claim in self._claims:
            claim.close()


@contextmanager
def folder_of_its_own() -> Iterator[Path]:
    """Not pytest's tmp_path, which as root is closed to the user that the server runs as."""
    folder = Path(tempfile.mkdtemp(prefix="daicho-fault-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_server(home: Path, settings: Mapping[str, str] | None = None) -> Iterator[OwnServer]:
    server = OwnServer(home, settings)
    try:
        server.start()
        yield server
    finally:
        server.close()

"""Blobs per second, durable and acknowledged, in one run: ours, and what bounds us.

    python -m tests.bench.blobs [--seconds 2] [--rounds 3] [--only folder|s3] [--server ceph|swift]

In a folder, against the same writes and fsyncs without us, and against sha256 alone. On a real S3 server that
this starts, through the minio SDK, against the SDK's own put_object in as many threads and against obstore
(Rust). Every figure is the median of the rounds; in a round all are measured one after the other. The ratios
per second of CPU leave out what the server and the disk do: there alone is the client's own cost to be seen.
"""

import argparse
import asyncio
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import obstore
import urllib3
from minio import Minio
from obstore.store import S3Store

from blobstore import BlobStore, Digest, FilesystemRoot, MinioConnection
from blobstore.syncfs import syncfs
from tests.bench.report import Report
from tests.servers.ceph import ceph_server
from tests.servers.s3_server import S3Server
from tests.servers.swift import swift_server

KIB, MIB = 1 << 10, 1 << 20
SIZES = {"4 KiB": 4 * KIB, "1 MiB": MIB, "64 MiB": 64 * MIB}
THREADS = 32
GROUP = 64


class Bodies:
    """Bodies of one size, no two alike. Made before the clock runs would take gigabytes: made as they are
    asked for, from one block of noise, which costs a copy."""

    def __init__(self, size: int) -> None:
        self._noise = os.urandom(size - 8)
        self._number = secrets.randbits(62)
        self._lock = threading.Lock()

    def next(self) -> bytes:
        with self._lock:
            self._number += 1
            return self._number.to_bytes(8, "big") + self._noise


class Clock:
    """Counts for so many seconds, of the wall and of this process's CPU."""

    def __init__(self, report: Report, label: str, seconds: float, most: int = 1_000_000) -> None:
        self._report, self._label, self._most = report, label, most
        self._begin, self._cpu = time.perf_counter(), time.process_time()
        self._deadline = self._begin + seconds
        self._count = 0
        self._lock = threading.Lock()

    def runs(self) -> bool:
        return time.perf_counter() < self._deadline and self._count < self._most

    def count(self, done: int = 1) -> None:
        with self._lock:
            self._count += done

    def stop(self) -> None:
        wall, cpu = time.perf_counter() - self._begin, time.process_time() - self._cpu
        self._report.add(self._label, self._count / wall, wall / self._count * 1e3)
        self._report.add(f"{self._label}, per CPU second", self._count / cpu)


@contextmanager
def clock(report: Report, label: str, seconds: float, most: int = 1_000_000) -> Iterator[Clock]:
    os.sync()  # what was written before is not to be paid for in here
    running = Clock(report, label, seconds, most)
    yield running
    running.stop()


async def at_once(count: int, running: Clock, work: Callable[[], Awaitable[object]]) -> None:
    async def worker() -> None:
        while running.runs():
            await work()
            running.count()

    await asyncio.gather(*(worker() for _ in range(count)))


def in_threads(count: int, running: Clock, work: Callable[[], object]) -> None:
    def worker(_: int) -> None:
        while running.runs():
            work()
            running.count()

    with ThreadPoolExecutor(count) as executor:
        list(executor.map(worker, range(count)))


# --- a folder -----------------------------------------------------------------------------------------------


class Bare:
    """The same writes and syncs, and nothing else: no hash, no look at what is there, folders made before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for number in range(256):
            (folder / f"{number:02x}").mkdir(parents=True)

    def put(self, body: bytes) -> None:
        temporary, path = self._written(body, sync=True)
        os.rename(temporary, path)
        _synced(path.parent)

    def put_together(self, bodies: list[bytes]) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        names = [self._written(body, sync=False) for body in bodies]
        syncfs(descriptor)
        for temporary, path in names:
            os.rename(temporary, path)
        syncfs(descriptor)
        os.close(descriptor)

    def _written(self, body: bytes, *, sync: bool) -> tuple[Path, Path]:
        name = secrets.token_hex(32)
        path = self._folder / name[:2] / name
        temporary = path.with_name(f".{name}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, body)
        if sync:
            os.fsync(descriptor)
        os.close(descriptor)
        return temporary, path


def _synced(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


async def measure_folder(report: Report, seconds: float) -> None:
    for name, size in SIZES.items():
        bodies, body = Bodies(size), Bodies(size).next()
        with clock(report, f"sha256 of {name}", seconds / 4) as running:
            while running.runs():
                hashlib.sha256(body).digest()
                running.count()
        for count in (1, THREADS, 256) if size == SIZES["4 KiB"] else (1, 4):
            await measure_puts(report, f"{name}, {count} at once", bodies, count, seconds)


async def measure_puts(report: Report, name: str, bodies: Bodies, count: int, seconds: float) -> None:
    folder = Path(tempfile.mkdtemp(prefix="blobs-"))
    try:
        root = FilesystemRoot(folder / "ours")
        await root.prepare()
        store = root.store("bench")
        small = Bodies(1 * KIB)
        await asyncio.gather(*(store.put(small.next()) for _ in range(2000)))  # its folders are made now
        bare = Bare(folder / "bare")
        with clock(report, f"folder: put of {name}", seconds) as running:
            await at_once(count, running, lambda: store.put(bodies.next()))
        with clock(report, f"writes and fsyncs of {name}", seconds) as running:
            in_threads(min(count, THREADS), running, lambda: bare.put(bodies.next()))
        if count >= THREADS:
            with clock(report, f"writes and syncfs of {name}", seconds) as running:
                while running.runs():
                    bare.put_together([bodies.next() for _ in range(min(count, GROUP))])
                    running.count(min(count, GROUP))
        await root.close()
    finally:
        shutil.rmtree(folder)


def print_folder(report: Report) -> None:
    for name in ("4 KiB, 1 at once", "1 MiB, 1 at once", "1 MiB, 4 at once"):
        report.ratio(f"folder: put of {name}", f"writes and fsyncs of {name}", wanted="> 0.7")
    for name in (f"4 KiB, {THREADS} at once", "4 KiB, 256 at once"):
        report.ratio(f"folder: put of {name}", f"writes and fsyncs of {name}", wanted="> 1")
        report.ratio(f"folder: put of {name}", f"writes and syncfs of {name}", wanted="> 0.7")
    for name in ("64 MiB, 1 at once", "64 MiB, 4 at once"):
        report.ratio(f"folder: put of {name}", f"writes and fsyncs of {name}", wanted="> 0.8")
    report.ratio("folder: put of 64 MiB, 1 at once", "sha256 of 64 MiB", wanted="> 0.8, where that is slower")


# --- an S3 server -------------------------------------------------------------------------------------------


async def measure_s3(report: Report, server: S3Server, seconds: float) -> None:
    bucket = f"bench-{secrets.token_hex(4)}"
    keys = (server.endpoint, server.access_key, server.secret_key)
    connection = MinioConnection(*keys, bucket=bucket, region=server.region)
    await connection.prepare()
    pool = urllib3.PoolManager(maxsize=THREADS)
    sdk = Minio(*keys, secure=False, region=server.region, http_client=pool)
    rust = S3Store(
        bucket,
        endpoint=f"http://{server.endpoint}",
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        region=server.region,
        client_options={"allow_http": True},
    )
    store = connection.store("bench")
    for name, counts in {"4 KiB": (1, THREADS), "64 MiB": (1,)}.items():
        bodies = Bodies(SIZES[name])
        for count in counts:
            named = f"{name}, {count} at once"
            await measure_s3_calls(report, named, bodies, count, seconds, store, sdk, rust, bucket)
    await connection.close()


async def measure_s3_calls(
    report: Report,
    name: str,
    bodies: Bodies,
    count: int,
    seconds: float,
    store: BlobStore,
    sdk: Minio,
    rust: S3Store,
    bucket: str,
) -> None:
    async def ours() -> None:
        written.append(await store.put(bodies.next()))

    def theirs() -> None:
        body = bodies.next()
        size = len(body)
        key = f"sdk/{secrets.token_hex(32)}"
        sdk.put_object(bucket, key, BytesIO(body), size, part_size=max(size, 5 * MIB))

    async def rusty() -> None:
        names.append(key := f"rust/{secrets.token_hex(32)}")
        await obstore.put_async(rust, key, bodies.next(), use_multipart=False)

    async def get_rusty() -> bytes:
        answer = await obstore.get_async(rust, secrets.choice(names))
        return bytes(await answer.bytes_async())

    written: list[Digest] = []
    names: list[str] = []
    await at_once(count, Clock(Report(), "the first connections", 0.2, count), ours)
    most = 3 if len(bodies.next()) > MIB else 1_000_000  # Ceph keeps all in memory here, deleted or not
    with clock(report, f"S3: put of {name}", seconds, most) as running:
        await at_once(count, running, ours)
    with clock(report, f"SDK: put of {name}", seconds, most) as running:
        in_threads(count, running, theirs)
    with clock(report, f"obstore: put of {name}", seconds, most) as running:
        await at_once(count, running, rusty)
    with clock(report, f"S3: get of {name}", seconds) as running:
        await at_once(count, running, lambda: store.get(secrets.choice(written)))
    with clock(report, f"obstore: get of {name}", seconds) as running:
        await at_once(count, running, get_rusty)


def print_s3(report: Report) -> None:
    for name in ("4 KiB, 1 at once", f"4 KiB, {THREADS} at once", "64 MiB, 1 at once"):
        for verb in ("put", "get"):
            report.ratio(f"S3: {verb} of {name}", f"obstore: {verb} of {name}", wanted="> 0.9")
        report.ratio(f"S3: put of {name}", f"SDK: put of {name}", wanted="> 0.9")
        cpu = f"of {name}, per CPU second"
        report.ratio(f"S3: put {cpu}", f"SDK: put {cpu}", wanted="> 0.9")
        report.ratio(f"S3: put {cpu}", f"obstore: put {cpu}", wanted="none: Python against Rust")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["folder", "s3"])
    parser.add_argument("--server", choices=["ceph", "swift"], default="ceph")
    chosen = parser.parse_args()
    report = Report()
    if chosen.only != "s3":
        for _ in range(chosen.rounds):
            asyncio.run(measure_folder(report, chosen.seconds))
    if chosen.only != "folder":
        for _ in range(chosen.rounds):
            with {"ceph": ceph_server, "swift": swift_server}[chosen.server]() as server:
                asyncio.run(measure_s3(report, server, chosen.seconds))
    report.print()
    if chosen.only != "s3":
        print_folder(report)
    if chosen.only != "folder":
        print_s3(report)


if __name__ == "__main__":
    main()

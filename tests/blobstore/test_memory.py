"""A body larger than memory ought to be: put and read by a process of its own, whose memory is measured."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.blobstore.conftest import Bucket

MIB = 1 << 20
RSS_BYTES_MAX = 100 * MIB

CHILD = """
import asyncio, sys
from pathlib import Path
from blobstore import FilesystemRoot, MinioConnection

kind, where, *keys, mib = sys.argv[1:]
block = bytes(range(256)) * 4096

async def body():
    for number in range(int(mib)):
        yield number.to_bytes(8, "big") + block[8:]

async def main():
    if kind == "folder":
        backend = FilesystemRoot(Path(where), compression=keys[0])
        await backend.prepare()
    else:
        backend = MinioConnection(where, *keys[:2], bucket=keys[2], region="us-east-1")
    store = backend.store("memory")
    digest = await store.put(body())
    assert await store.verify(digest) == int(mib) << 20
    size = 0
    async with store.open(digest) as chunks:
        async for chunk in chunks:
            size += len(chunk)
    assert size == int(mib) << 20
    await store.delete(digest)
    await backend.close()

asyncio.run(main())
# Not getrusage: a child begins with what its parent had.
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak.split()[1]) * 1024)
"""


def most_memory_of(*arguments: str) -> int:
    """Bytes of resident memory at the most, of a process that puts and reads such a body."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return int(child.stdout)


def arguments_of(bucket: Bucket) -> tuple[str, ...]:
    server = bucket.server
    return ("s3", server.endpoint, server.access_key, server.secret_key, bucket.name)


def test_a_body_of_160_mib_goes_through_a_server_in_bounded_memory(swift: Bucket) -> None:
    assert most_memory_of(*arguments_of(swift), "160") < RSS_BYTES_MAX


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_body_of_160_mib_goes_through_a_folder_in_bounded_memory(tmp_path: Path, compression: str) -> None:
    assert most_memory_of("folder", str(tmp_path), compression, "160") < RSS_BYTES_MAX


@pytest.mark.torture
def test_a_body_of_2_gib_goes_through_a_server_in_bounded_memory(swift: Bucket) -> None:
    assert most_memory_of(*arguments_of(swift), "2048") < RSS_BYTES_MAX


@pytest.mark.torture
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_body_of_2_gib_goes_through_a_folder_in_bounded_memory(tmp_path: Path, compression: str) -> None:
    assert most_memory_of("folder", str(tmp_path), compression, "2048") < RSS_BYTES_MAX

"""Small blobs that are put at the same time share the disk's answers, and still stand or fall each by
itself."""

import asyncio
import errno
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from test_folder import FAULTS, FaultyOs, PowerCut, blobs_under, files_under

from blobstore import BlobStoreUnavailable, Digest, FilesystemRoot, digest_of, durable, syncfs
from blobstore.filesystem.grouping import PUTS_MAX

BODIES = [b"body %d " % number * 100 for number in range(5)]
ROTTEN, WHOLE = BODIES[:2]  # there already, the first one damaged

pytestmark = pytest.mark.skipif(
    not syncfs.is_reliable(Path(__file__).parent), reason="syncfs, which this file system has not"
)


@pytest.fixture
async def root(tmp_path: Path) -> Iterator[FilesystemRoot]:
    root = FilesystemRoot(tmp_path / "blobs")
    await root.prepare()
    yield root
    await root.close()


def watch(monkeypatch: pytest.MonkeyPatch, fails_at: int, fault: BaseException) -> FaultyOs:
    faulty = FaultyOs(fails_at, fault)
    monkeypatch.setattr(durable, "os", faulty)
    monkeypatch.setattr(durable, "syncfs", faulty._watched("syncfs", syncfs.syncfs))
    return faulty


async def put_all(root: FilesystemRoot) -> list[Digest | BaseException]:
    """All bodies at once, one of them twice and one of them under another prefix too."""
    store, neighbour = root.store("acme"), root.store("acme_2")
    puts = [store.put(body) for body in [*BODIES, BODIES[2]]]
    return await asyncio.gather(*puts, neighbour.put(BODIES[3]), return_exceptions=True)


async def test_puts_at_the_same_time_are_synced_twice_in_all(
    root: FilesystemRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = watch(monkeypatch, 10_000, PowerCut())
    digests = await put_all(root)
    assert digests == [digest_of(body) for body in [*BODIES, BODIES[2], BODIES[3]]]
    names = [name for name, _ in faulty.calls]
    assert names.count("syncfs") == 2
    assert names.count("fsync") == 0
    between = names[names.index("syncfs") + 1 : -1]
    assert names[-1] == "syncfs"
    assert set(between) == {"replace"}
    assert len(between) == len(digests)
    assert "write" not in between


async def test_a_lone_put_is_synced_by_itself(root: FilesystemRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = watch(monkeypatch, 10_000, PowerCut())
    await root.store("acme").put(BODIES[0])
    assert "syncfs" not in [name for name, _ in faulty.calls]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_puts_that_fail_at_any_system_call_leave_each_blob_as_it_was_or_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    for nth in count():
        root = FilesystemRoot(tmp_path / str(nth))
        await root.prepare()
        store = root.store("acme")
        for body in (ROTTEN, WHOLE):
            await store.put(body)
        store.path_of(digest_of(ROTTEN)).write_bytes(b"rotten")
        with monkeypatch.context() as patched:
            faulty = watch(patched, nth, fault)
            answers = await put_all(root)
        await root.close()
        if not faulty.struck:
            break

        for path in blobs_under(tmp_path / str(nth)):
            content = path.read_bytes()
            assert digest_of(content) == path.name or (content, path.name) == (b"rotten", digest_of(ROTTEN))
        restarted = FilesystemRoot(tmp_path / str(nth))
        for body, answer in zip([*BODIES, BODIES[2]], answers, strict=False):
            if not isinstance(answer, BaseException):
                assert await restarted.store("acme").get(answer) == body
        if not isinstance(fault, PowerCut):
            failed = {type(each) for each in answers if isinstance(each, BaseException)}
            assert failed == {BlobStoreUnavailable}
            assert faulty.calls[nth][0] != "syncfs" or not any(isinstance(each, str) for each in answers)
        await restarted.store("acme").clear_unfinished(0)
        await restarted.store("acme_2").clear_unfinished(0)
        assert files_under(tmp_path / str(nth)) == blobs_under(tmp_path / str(nth))
        assert await put_all(restarted) == [digest_of(body) for body in [*BODIES, BODIES[2], BODIES[3]]]
        await restarted.close()
    assert nth > 40, "the faults did not reach the system calls"


async def test_one_put_that_fails_leaves_its_neighbours_alone(
    root: FilesystemRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_all(root)  # the folders are there
    store = root.store("acme")
    bodies = [b"new %d" % number for number in range(8)]
    fails_at = 12  # the second body's file, or thereabouts
    watch(monkeypatch, fails_at, OSError(errno.ENOSPC, "No space left on device"))
    answers = await asyncio.gather(*map(store.put, bodies), return_exceptions=True)
    failed = [body for body, answer in zip(bodies, answers, strict=True) if isinstance(answer, BaseException)]
    assert len(failed) == 1
    assert [body for body in bodies if not await store.exists(digest_of(body))] == failed


async def test_more_puts_than_a_group_holds_are_all_there(root: FilesystemRoot) -> None:
    bodies = [b"%d" % number for number in range(PUTS_MAX * 3 + 1)]
    store = root.store("acme")
    digests = await asyncio.gather(*map(store.put, bodies))
    assert await asyncio.gather(*map(store.get, digests)) == bodies


async def test_a_put_whose_caller_is_gone_does_not_stop_its_group(root: FilesystemRoot) -> None:
    store = root.store("acme")
    puts = [asyncio.create_task(store.put(body)) for body in BODIES]
    await asyncio.sleep(0)
    puts[2].cancel()
    answers = await asyncio.gather(*puts, return_exceptions=True)
    assert isinstance(answers[2], asyncio.CancelledError)
    assert [each for each in answers if isinstance(each, str)] == [
        digest_of(body) for body in BODIES if body is not BODIES[2]
    ]


async def test_where_syncfs_cannot_be_relied_on_each_put_is_synced_by_itself(
    root: FilesystemRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncfs, "_RELIABLE", set())
    faulty = watch(monkeypatch, 10_000, PowerCut())
    assert await put_all(root) == [digest_of(body) for body in [*BODIES, BODIES[2], BODIES[3]]]
    assert "syncfs" not in [name for name, _ in faulty.calls]


@pytest.mark.parametrize(
    ("release", "file_system", "reliable"),
    [
        ("6.1.0-18-amd64", "ext4", True),
        ("5.8.0", "xfs", True),
        ("5.7.19", "ext4", False),
        ("6.1.0", "fuse.sshfs", False),
        ("6.1.0", "nfs4", False),
        ("6.1.0", None, False),
    ],
)
def test_syncfs_is_relied_on_where_it_tells_of_failures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: str, file_system: str | None, reliable: bool
) -> None:
    monkeypatch.setattr(syncfs.platform, "release", lambda: release)
    monkeypatch.setattr(syncfs, "_file_system_of", lambda _: file_system)
    assert syncfs.is_reliable(tmp_path) is reliable


def test_what_syncfs_fails_with_is_told() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        syncfs.syncfs(-1)

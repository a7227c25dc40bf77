"""What only the filesystem store has: files, folders, a full disk, and crashes between system calls."""

import asyncio
import errno
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from blobstore import (
    BlobAccessDenied,
    BlobStoreMissing,
    BlobStoreUnavailable,
    FilesystemBlobStore,
    FilesystemRoot,
    digest_of,
    durable,
)

BODY = b"whole or not at all" * 1000
DIGEST = digest_of(BODY)


class PowerCut(BaseException):
    """The machine is gone: not an Exception, so that no handler tidies up after it."""


class FaultyOs:
    """`os`, until the nth call from now: that one fails. After a power cut every later call fails as well."""

    def __init__(self, fails_at: int, fault: BaseException) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.fails_at = fails_at
        self.fault = fault

    @property
    def struck(self) -> bool:
        return len(self.calls) > self.fails_at

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        # A descriptor is closed in any case: by the kernel, if by nobody else.
        return self._watched(name, real) if callable(real) and name != "close" else real

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            first = len(self.calls) == self.fails_at
            self.calls.append((name, arguments))
            if first or (self.struck and isinstance(self.fault, PowerCut)):
                raise self.fault
            return real(*arguments)

        return call


@pytest.fixture
async def store(tmp_path: Path):
    store = FilesystemRoot(tmp_path / "blobs").store("acme")
    await store.prepare()
    yield store
    await store._root.close()


def files_under(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def blobs_under(root: Path) -> list[Path]:
    return [path for path in files_under(root) if not path.name.startswith(".")]


FAULTS = {
    "a power cut": PowerCut("gone"),
    "a full disk": OSError(errno.ENOSPC, "No space left on device"),
    "a bad disk": OSError(errno.EIO, "Input/output error"),
}


@pytest.mark.parametrize("before", [None, b"rotten"], ids=["nothing there", "a corrupt blob there"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_put_that_fails_at_any_system_call_leaves_the_old_state_or_the_whole_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, before: bytes | None
) -> None:
    for nth in count():
        root = tmp_path / str(nth)
        store = await _store_with(root, before)
        faulty = FaultyOs(nth, fault)
        with monkeypatch.context() as patched:
            patched.setattr(durable, "os", faulty)
            if await _put_survives(store):
                assert not faulty.struck, "a put was acknowledged although a call had failed"
                break
        await store._root.close()

        restarted = FilesystemRoot(root).store("acme")
        seen = [path.read_bytes() for path in blobs_under(root)]
        assert seen in ([BODY], [before] if before else [])
        assert await restarted.exists(DIGEST) == (seen == [BODY])
        await restarted.put(BODY)
        assert await restarted.get(DIGEST) == BODY
        await restarted._root.close()
    assert nth > 8, "the faults did not reach the system calls"
    await store._root.close()


async def _store_with(root: Path, before: bytes | None) -> FilesystemBlobStore:
    store = FilesystemRoot(root).store("acme")
    await store.prepare()
    if before is not None:
        await store.put(BODY)
        store.path_of(DIGEST).write_bytes(before)
    return store


async def _put_survives(store: FilesystemBlobStore) -> bool:
    try:
        await store.put(BODY)
    except (PowerCut, BlobStoreUnavailable):
        return False
    return True


async def test_a_put_that_failed_without_a_crash_leaves_no_temporary_file(
    store: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(durable.os, "replace", _raising(errno.EIO))
    with pytest.raises(BlobStoreUnavailable):
        await store.put(BODY)
    assert files_under(tmp_path) == []


async def test_bytes_are_synced_before_the_name_and_every_name_before_the_answer(
    store: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = FaultyOs(10_000, PowerCut())
    monkeypatch.setattr(durable, "os", recording)
    await store.put(BODY)
    names = [name for name, _ in recording.calls]
    named = names.index("replace")
    assert names.index("write") < names.index("fsync") < named
    assert names[named + 1 :] == ["open", "fsync"]
    made = [Path(arguments[0]) for name, arguments in recording.calls if name == "mkdir"]
    opened = [Path(arguments[0]) for name, arguments in recording.calls[:named] if name == "open"]
    assert len(made) == 3
    assert all(folder.parent in opened for folder in made)
    assert Path(recording.calls[named + 1][1][0]) == store.path_of(DIGEST).parent


async def test_names_that_another_process_may_not_have_synced_are_synced_before_the_answer(
    store: FilesystemBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put(BODY)
    newcomer = FilesystemRoot(tmp_path / "blobs").store("acme")
    recording = FaultyOs(10_000, PowerCut())
    monkeypatch.setattr(durable, "os", recording)
    await newcomer.put(BODY)
    opened = {Path(arguments[0]) for name, arguments in recording.calls if name == "open"}
    assert set(store.path_of(DIGEST).parents[:4]) <= opened
    await newcomer._root.close()


async def test_a_blob_that_is_there_is_not_written_again(store: FilesystemBlobStore) -> None:
    await store.put(BODY)
    before = store.path_of(DIGEST).stat()
    await store.put(BODY)
    after = store.path_of(DIGEST).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


async def test_a_short_write_is_finished(store: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class ShortWrites(FaultyOs):
        def write(self, descriptor: int, content: memoryview) -> int:
            return os.write(descriptor, content[:100])

    monkeypatch.setattr(durable, "os", ShortWrites(10_000, PowerCut()))
    assert await store.get(await store.put(BODY)) == BODY


@pytest.mark.parametrize("stale", [".0123456789abcdef.tmp", "README", DIGEST[:-1]])
async def test_stray_files_are_no_blobs_and_in_nobodys_way(store: FilesystemBlobStore, stale: str) -> None:
    await store.put(BODY)
    (store.path_of(DIGEST).parent / stale).write_bytes(BODY[:7])
    assert await store.get(DIGEST) == BODY


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, BlobStoreUnavailable),
        (errno.EIO, BlobStoreUnavailable),
        (errno.EDQUOT, BlobStoreUnavailable),
        (errno.EACCES, BlobAccessDenied),
        (errno.EPERM, BlobAccessDenied),
        (errno.EROFS, BlobAccessDenied),
    ],
)
async def test_an_errno_is_told_as_what_it_means(
    store: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    monkeypatch.setattr(durable, "os", FaultyOs(0, OSError(number, os.strerror(number))))
    with pytest.raises(error, match=errno.errorcode[number]):
        await store.put(BODY)


async def test_a_missing_root_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    store = FilesystemRoot(tmp_path / "nowhere").store("acme")
    for call in (store.check(), store.put(BODY), store.get(DIGEST), store.exists(DIGEST)):
        with pytest.raises(BlobStoreMissing, match="daicho init"):
            await call
    assert not (tmp_path / "nowhere").exists()
    await store._root.close()


async def test_a_file_in_place_of_the_root_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("not a folder")
    store = FilesystemRoot(tmp_path / "blobs").store("acme")
    with pytest.raises(BlobStoreMissing, match="ENOTDIR"):
        await store.check()
    await store._root.close()


async def test_prepare_makes_the_parents_too_and_check_leaves_nothing(tmp_path: Path) -> None:
    root = FilesystemRoot(tmp_path / "a" / "b" / "blobs")
    await root.prepare()
    await root.check()
    assert list((tmp_path / "a" / "b" / "blobs").iterdir()) == []
    await root.close()


async def test_blobs_are_for_their_owner_alone(store: FilesystemBlobStore) -> None:
    await store.put(BODY)
    assert store.path_of(DIGEST).stat().st_mode & 0o077 == 0
    assert store.path_of(DIGEST).parent.stat().st_mode & 0o077 == 0


async def test_two_stores_on_one_folder_put_the_same_content_at_once(tmp_path: Path) -> None:
    stores = [FilesystemRoot(tmp_path).store("acme") for _ in range(2)]
    await asyncio.gather(*(store.put(BODY) for store in stores * 16))
    assert [path.name for path in blobs_under(tmp_path)] == [DIGEST]
    for store in stores:
        await store._root.close()


async def test_closing_waits_for_the_put_under_way(tmp_path: Path) -> None:
    store = FilesystemRoot(tmp_path).store("acme")
    putting = asyncio.create_task(store.put(BODY))
    await asyncio.sleep(0)
    await store._root.close()
    await store._root.close()
    assert await putting == DIGEST


def _raising(number: int) -> Callable[..., None]:
    def call(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return call

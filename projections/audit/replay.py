"""Replay into a folder: a run's state and bodies as of a point, every body's digest checked on its way.

    DIR/state.json                     StateAsOf
    DIR/timeline.json                  Timeline up to the point
    DIR/manifest.json                  Replay: every body, where it lies and whether it is there
    DIR/artifacts/RUN/STEP/NAME        the newest version of each path, at the point
    DIR/older/VERSION/RUN/STEP/NAME    the versions before it
    DIR/unplaced/DIGEST                what has a path that is no artifact path of the tenant's

The folder appears whole or not at all: it is written beside its place and renamed into it. No name in an
event can lead out of it: names hold no slash, and those that are no names lie under their digest.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from blobstore import BlobCorrupt, BlobNotFound, BlobStore, parse_digest
from ledger.contract.artifact_ref import ArtifactPath
from ledger.errors import FolderRefused
from projections.audit.answers import Answer
from projections.audit.history import RunHistory
from projections.audit.state import StateAsOf
from projections.audit.timeline import Timeline
from projections.rows import ArtifactRow

BODIES_AT_ONCE = 8


class ReplayedBody(Answer):
    """`file` is relative to the folder; `missing` bodies are in no store, `corrupt` ones hash to something
    else: neither has a file."""

    path: str
    digest: str
    version: int
    size_bytes: int | None
    file: str
    status: Literal["written", "missing", "corrupt"]


class Replay(Answer):
    """`ok` is true where every body is there and right."""

    tenant_id: str
    run_id: str
    folder: str
    position: int
    version: int
    recorded_at: datetime
    bodies: list[ReplayedBody]
    ok: bool


async def replay(
    folder: Path, history: RunHistory, state: StateAsOf, timeline: Timeline, blobs: BlobStore
) -> Replay:
    """Raises FolderRefused before anything is written where `folder` is not empty or cannot be made."""
    async with _whole_folder(folder) as made:
        placed = list(_places(history))
        at_once = asyncio.Semaphore(BODIES_AT_ONCE)

        async def write(row: ArtifactRow, place: str) -> ReplayedBody:
            async with at_once:
                return await _write_body(made, row, place, blobs)

        bodies = await asyncio.gather(*(write(row, place) for row, place in placed))
        answer = Replay(
            tenant_id=history.tenant_id,
            run_id=history.run_id,
            folder=str(folder),
            position=state.position,
            version=state.version,
            recorded_at=state.recorded_at,
            bodies=bodies,
            ok=all(body.status == "written" for body in bodies),
        )
        for name, said in (("state", state), ("timeline", timeline), ("manifest", answer)):
            _write(made / f"{name}.json", said.model_dump_json(indent=2).encode())
    return answer


def _places(history: RunHistory) -> Iterable[tuple[ArtifactRow, str]]:
    """Where each version of each path goes. What would fall on another's place, on a file system that does
    not tell upper from lower case, lies under its digest."""
    taken: set[str] = set()
    for row in history.state.artifacts.values():
        is_newest = row.version == history.state.path_versions[row.path]
        place = _place(row, history.tenant_id, is_newest)
        if place is None or place.casefold() in taken:
            place = f"unplaced/{row.digest}"
        if place.casefold() not in taken:
            taken.add(place.casefold())
            yield row, place


def _place(row: ArtifactRow, tenant_id: str, is_newest: bool) -> str | None:
    try:
        parts = ArtifactPath.parse(row.path)
    except ValueError:
        return None
    if parts.tenant_id != tenant_id:
        return None
    within = f"{parts.run_id}/{parts.step_id}/{parts.name}"
    return f"artifacts/{within}" if is_newest else f"older/{row.version}/{within}"


async def _write_body(folder: Path, row: ArtifactRow, place: str, blobs: BlobStore) -> ReplayedBody:
    status: Literal["written", "missing", "corrupt"] = "written"
    file = _NewFile(folder / place)
    try:
        async with blobs.open(parse_digest(row.digest)) as chunks:
            async for chunk in chunks:
                file.write(chunk)
        file.close()
    except (BlobNotFound, BlobCorrupt) as error:
        file.discard()
        status = "missing" if isinstance(error, BlobNotFound) else "corrupt"
    except BaseException:
        file.discard()
        raise
    return ReplayedBody(
        path=row.path,
        digest=row.digest,
        version=row.version,
        size_bytes=row.size_bytes,
        file=place,
        status=status,
    )


class _NewFile:
    """A file that must not be there yet, with the folders it lies in."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("xb")

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        self._file.close()
        self._path.unlink()


def _write(path: Path, content: bytes) -> None:
    file = _NewFile(path)
    file.write(content)
    file.close()


@asynccontextmanager
async def _whole_folder(folder: Path) -> AsyncIterator[Path]:
    target = _free(folder)
    beside = target.parent / f".{target.name[:100]}.{secrets.token_hex(6)}.partial"
    try:
        beside.mkdir(mode=0o755)
    except OSError as error:
        raise _refused(folder, f"it cannot be made ({error.strerror})") from error
    try:
        yield beside
        try:
            os.rename(beside, target)
        except OSError as error:
            raise _refused(folder, f"somebody else filled it meanwhile ({error.strerror})") from error
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(beside)
        raise


def _free(folder: Path) -> Path:
    """The folder's real place. Raises FolderRefused; of a symbolic link too, which may lead anywhere."""
    try:
        # Strict: what stands before a `..` must be there, or nobody knows where that leads.
        target = folder.resolve() if folder.exists() else folder.parent.resolve(strict=True) / folder.name
        if folder.is_symlink():
            raise _refused(folder, "it is a symbolic link")
        if folder.exists() and not folder.is_dir():
            raise _refused(folder, "it is a file")
        if target == Path.cwd():
            # It would be exchanged for another, and whoever stands in it be left in one that is no more.
            raise _refused(folder, "it is the folder you are in")
        if folder.exists() and any(folder.iterdir()):
            raise _refused(folder, "it is not empty")
        if not target.parent.is_dir() or folder.name == "..":
            raise _refused(folder, f"its parent {target.parent} is no folder")
    except FileNotFoundError:
        raise _refused(folder, f"its parent {folder.parent} is not there") from None
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
        said = error.strerror if isinstance(error, OSError) else error
        raise _refused(folder, f"its place cannot be looked at ({said})") from None
    return target


def _refused(folder: Path, why: str) -> FolderRefused:
    return FolderRefused(
        f"The folder {str(folder)!r} cannot be written: {why}",
        expected="a folder that is empty, or one that is not there yet in a folder that is",
        fix="Name another; nothing was written",
    )

"""The archive as a file: rows keep every value, and nothing is believed of a file that is not as it was."""

import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import ArchiveDamaged, ArchiveExists, ArchiveUnreadable
from ledger.lifecycle.archive.manifest import Checkpoints, Manifest
from ledger.lifecycle.archive.reader import ArchiveReader, blob_member
from ledger.lifecycle.archive.writer import ArchiveWriter
from ledger.lifecycle.log_tables import EVENTS, LOG_TABLES, SNAPSHOTS, LogTable

BODY = b"a body" * 1000
DIGEST = sha256(BODY).hexdigest()

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "uuid": st.uuids(),
    "time": st.datetimes(timezones=st.just(UTC)),
    "base64": st.binary(max_size=200),
    "hex": st.binary(min_size=32, max_size=32),
}


def rows(table: LogTable) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(
        *(
            st.none() | VALUES[kind] if name in table.nullable else VALUES[kind]
            for name, kind in table.columns.items()
        )
    )


@pytest.mark.parametrize("table", LOG_TABLES, ids=lambda table: table.name)
def test_a_row_comes_back_from_its_line_as_it_was(table: LogTable) -> None:
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(rows(table))
    def comes_back(row: tuple[Any, ...]) -> None:
        line = table.line(row)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert table.row(line) == row

    comes_back()


def snapshot(**changed: str) -> bytes:
    values = {
        "stream_id": '"app/x"',
        "version": "1",
        "topic": '"t"',
        "state": '""',
        "recorded_at": '"2026-01-01T00:00:00Z"',
    }
    members = ", ".join(f'"{name}": {value}' for name, value in (values | changed).items())
    return f"{{{members}}}".encode()


def test_the_line_that_is_changed_below_is_a_row() -> None:
    assert SNAPSHOTS.row(snapshot())[0] == "app/x"


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"not json",
        snapshot(version='"1"'),
        snapshot(state='"?"'),
        snapshot(recorded_at='"2026-01-01T00:00:00"'),
        snapshot(stream_id="null"),
    ],
)
def test_a_line_that_is_no_row_is_refused(line: bytes) -> None:
    with pytest.raises(ArchiveDamaged, match="snapshots cannot be read"):
        SNAPSHOTS.row(line)


async def written(path: Path) -> Path:
    manifest = Manifest(
        daicho_version="0.1.0",
        schema_revision="0008",
        tenant_id="acme",
        name="Acme",
        exported_at=datetime.now(UTC),
        exported_by="ann",
        head_position=0,
    )
    with ArchiveWriter(path) as archive:
        archive.add("manifest.json", manifest.model_dump_json().encode())
        archive.add_lines("tracking/000000000001.jsonl.gz", [])
        archive.add("checkpoints.json", Checkpoints().model_dump_json().encode())
        async with archive.member(blob_member(DIGEST), len(BODY)) as member:
            await member.write(BODY[:10])
            await member.write(BODY[10:])
    return path


async def test_what_was_written_is_read(tmp_path: Path) -> None:
    with ArchiveReader.open(await written(tmp_path / "acme.tar")) as archive:
        assert archive.manifest.tenant_id == "acme"
        assert list(archive.blobs()) == [(DIGEST, len(BODY))]
        assert b"".join(archive.blob(next(archive.blobs())[0])) == BODY
        assert list(archive.rows(EVENTS)) == []


async def test_any_tar_reads_it_and_sha256sum_checks_it(tmp_path: Path) -> None:
    with tarfile.open(await written(tmp_path / "acme.tar")) as tar:
        *names, last = tar.getnames()
        assert last == "SHA256SUMS"
        sums = tar.extractfile(last).read().decode()  # type: ignore[union-attr]
        for name in names:
            content = tar.extractfile(name).read()  # type: ignore[union-attr]
            assert f"{sha256(content).hexdigest()}  {name}\n" in sums


async def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "acme.tar").write_text("precious")
    with pytest.raises(ArchiveExists):
        await written(tmp_path / "acme.tar")
    assert (tmp_path / "acme.tar").read_text() == "precious"


async def cut_short(path: Path) -> None:
    with ArchiveWriter(path) as archive:
        archive.add("manifest.json", b"{}")
        async with archive.member(blob_member(DIGEST), len(BODY)) as member:
            await member.write(BODY[:10])


async def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        await cut_short(tmp_path / "acme.tar")
    assert list(tmp_path.iterdir()) == []


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-2048],  # without the end and a part of the sums
        lambda data: data[: data.index(b"SHA256SUMS")],
        lambda data: flip(data.index(b"a body") + 700)(data),
        lambda data: flip(data.index(b'"acme"') + 1)(data),
        lambda data: data.replace(b"SHA256SUMS", b"sha256sums"),
    ],
)
async def test_a_damaged_archive_is_refused_whole(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = await written(tmp_path / "acme.tar")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArchiveDamaged):
        ArchiveReader.open(path)


@pytest.mark.parametrize("content", [b"", b"not a tar", b"\x00" * 2048])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises((ArchiveUnreadable, ArchiveDamaged)):
        ArchiveReader.open(path)


async def test_a_format_of_tomorrow_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "acme.tar"
    with ArchiveWriter(path) as archive:
        archive.add("manifest.json", b'{"format": "daicho.tenant", "format_version": 2}')
        archive.add("checkpoints.json", b"{}")
    with pytest.raises(ArchiveUnreadable, match="format_version"):
        ArchiveReader.open(path)

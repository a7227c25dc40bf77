"""daicho blob get, put, url; what bodies take, as status says."""

import json
from pathlib import Path

import pytest

from blobstore import digest_of
from ledger import Tenant
from projections.listing import blob_usage
from tests.support.command_line import CommandLine


async def _bytes(daicho: CommandLine, *words: str, given: bytes = b"") -> tuple[int, bytes]:
    done = await daicho.result(*words, given=given)
    return done.exit_code, done.output_bytes


async def test_what_was_put_at_a_path_is_got_by_path_and_by_digest(
    tenant: Tenant, daicho: CommandLine, tmp_path: Path
) -> None:
    body = bytes(range(256)) * 10_000
    (tmp_path / "photo.png").write_bytes(body)
    path = f"storage/{tenant.tenant_id}/r/s/cover"
    code, output = await _bytes(
        daicho, "blob", "put", str(tmp_path / "photo.png"), "--path", path, "-t", tenant.tenant_id, "--json"
    )
    ref = json.loads(output)
    assert (code, ref["digest"], ref["size_bytes"]) == (0, digest_of(body), len(body))
    assert ref["content_type"] == "image/png", "the file's extension says, where the path's name has none"
    for named in (path, ref["digest"]):
        assert await _bytes(daicho, "blob", "get", named, "-t", tenant.tenant_id) == (0, body)
    [event] = await tenant.store.read()
    assert (event.event_type, event.run_id) == ("artifact.stored", "r")


async def test_standard_input_without_a_path_is_stored_and_recorded_nowhere(
    tenant: Tenant, daicho: CommandLine
) -> None:
    code, output = await _bytes(daicho, "blob", "put", "-", "-t", tenant.tenant_id, given=b"from a pipe")
    assert (code, output) == (0, f"{digest_of(b'from a pipe')}  (recorded nowhere)\n".encode())
    assert await tenant.blobs.get(digest_of(b"from a pipe")) == b"from a pipe"
    assert await tenant.store.head() == 0


async def test_of_a_corrupt_body_the_end_is_missing_and_the_check_failed(
    tenant: Tenant, daicho: CommandLine
) -> None:
    digest = await tenant.blobs.put(b"the truth")
    tenant.blobs.path_of(digest).write_bytes(b"a lie!!!!")  # type: ignore[attr-defined]
    code, output = await _bytes(daicho, "blob", "get", digest, "-t", tenant.tenant_id)
    assert code == 1
    assert b"a lie" not in output
    assert b"are not the blob they are filed as" in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "f" * 64], b"No blob ffff"),
        (["get", "storage/{t}/r/s/none"], b"No artifact is recorded at"),
        (["get", "../../etc/passwd"], b"This is no blob's digest"),
        (["put", "-", "--path", "storage/other/r/s/n"], b"names another tenant"),
        (["put", "-", "--path", "no/path"], b"is not an artifact path"),
        (["put", "/no/such/file"], b"does not exist"),
        (["url", "f" * 64], b"has no server that could answer a URL"),
        (["url", "f" * 64, "--expires", "999999999"], b"999999999 is not in the range"),
        (["url", "f" * 64, "--content-type", "none at all"], b"A content type is like"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
async def test_what_cannot_be_is_told_in_a_sentence(
    tenant: Tenant, daicho: CommandLine, words: list[str], said: bytes
) -> None:
    words = [word.format(t=tenant.tenant_id) for word in words]
    code, output = await _bytes(daicho, "blob", *words, "-t", tenant.tenant_id)
    assert (code, said in output) == (2, True), output
    assert b"Traceback" not in output


async def test_what_bodies_take_and_how_often_they_are_used(tenant: Tenant) -> None:
    for name, body in (("a", b"x" * 300), ("b", b"x" * 300), ("c", b"y" * 100)):
        ref = await tenant.artifacts.put(body, f"storage/{tenant.tenant_id}/r/s/{name}")
    assert ref.size_bytes == 100
    await tenant.wait_projected(3)
    assert (await blob_usage(tenant)).to_dict() == {
        "bodies": 2,
        "stored_bytes": 400,
        "recorded_bytes": 700,
        "recorded": 3,
        "dedup_ratio": 1.75,
    }

"""`daicho blob get`, `put`, `url`: bodies in and out, a few MiB in memory at a time."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click

from blobstore import BlobNotFound, Digest, parse_digest
from blobstore.protocol import URL_SECONDS, URL_SECONDS_MAX
from ledger.bodies.body import FILE_BLOCK_BYTES, body_of
from ledger.bodies.content_types import BYTES
from ledger.cli.running import (
    catch_up,
    json_option,
    open_tenant,
    print_json,
    runs_async,
    tenant_option,
)
from ledger.cli.upkeep import fsck, gc
from ledger.contract.artifact_ref import ROOT
from ledger.tenant import Tenant
from projections.listing import newest_artifact
from projections.rows import ArtifactRow

STANDARD_INPUT = "-"


@click.group()
def blob() -> None:
    """Artifact bodies."""


@blob.command("get")
@click.argument("digest_or_path", metavar="DIGEST|PATH")
@tenant_option
@runs_async
async def get(digest_or_path: str, tenant_id: str | None) -> None:
    """Write a body to standard output.

    It is hashed on its way: of a corrupt one the end is missing, and the exit code is 1. PATH is an
    artifact's, storage/TENANT/RUN/STEP/NAME, and means the last version recorded there.
    """
    async with open_tenant(tenant_id) as tenant:
        digest, _ = await _found(tenant, digest_or_path)
        async with tenant.blobs.open(digest) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(sys.stdout.buffer.write, chunk)
        sys.stdout.buffer.flush()


@blob.command("put")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--path", metavar="PATH", help="Record it there: storage/TENANT/RUN/STEP/NAME.")
@click.option("--content-type", metavar="TYPE", help="Default: what the extension of NAME or FILE says.")
@tenant_option
@json_option
@runs_async
async def put(
    file: Path, path: str | None, content_type: str | None, tenant_id: str | None, as_json: bool
) -> None:
    """Store FILE (- is standard input) and print its digest.

    With --path, artifact.stored is recorded in the run that PATH names. Without, no event refers to the
    blob, and `daicho blob gc` will take it once it is old enough.
    """
    async with open_tenant(tenant_id) as tenant:
        content = _standard_input() if str(file) == STANDARD_INPUT else file
        if path is None:
            digest = await tenant.blobs.put(body_of(content, file.name).open())
            stored: object = {"digest": digest}
            told = f"{digest}  (recorded nowhere)"
        else:
            ref = await tenant.artifacts.put(content, path, content_type)
            stored, told = ref, f"{ref.digest}  {ref.size_bytes} bytes, {ref.content_type}"
    if as_json:
        print_json(stored)
    else:
        click.echo(told)


@blob.command("url")
@click.argument("digest_or_path", metavar="DIGEST|PATH")
@click.option("--expires", "expires_seconds", type=click.IntRange(1, URL_SECONDS_MAX), default=URL_SECONDS,
              show_default=True, metavar="SECONDS", help="How long it is good for.")  # fmt: skip
@click.option("--name", "file_name", metavar="NAME", help="What it is saved as.")
@click.option("--content-type", metavar="TYPE", help="Default: the artifact's own.")
@tenant_option
@runs_async
async def url(
    digest_or_path: str,
    expires_seconds: int,
    file_name: str | None,
    content_type: str | None,
    tenant_id: str | None,
) -> None:
    """Print a URL from which whoever holds it may download a body. Needs an S3 server."""
    async with open_tenant(tenant_id) as tenant:
        digest, artifact = await _found(tenant, digest_or_path)
        try:
            made = await tenant.blobs.presign(
                digest,
                file_name=file_name or (artifact.name if artifact else digest),
                content_type=content_type or (artifact.content_type if artifact else None) or BYTES,
                expires_seconds=expires_seconds,
            )
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None
    click.echo(made)


async def _found(tenant: Tenant, digest_or_path: str) -> tuple[Digest, ArtifactRow | None]:
    if not digest_or_path.startswith(f"{ROOT}/"):
        return parse_digest(digest_or_path), None
    await catch_up(tenant)
    newest = await newest_artifact(tenant, digest_or_path)
    if newest is None:
        problem = f"No artifact is recorded at {digest_or_path!r}"
        raise BlobNotFound(problem, fix="`daicho timeline` shows a run's")
    return parse_digest(newest.digest), newest


async def _standard_input() -> AsyncIterator[bytes]:
    while block := await asyncio.to_thread(sys.stdin.buffer.read, FILE_BLOCK_BYTES):
        yield block


blob.add_command(gc)
blob.add_command(fsck)

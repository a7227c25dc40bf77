"""A bucket is made by `daicho init` and by nothing else: a wrong name is an error, never a new bucket."""

import asyncio
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from blobstore import BlobStoreMissing
from ledger import Ledger, Settings
from ledger.control.embedded import EmbeddedPostgres
from tests.blobstore.conftest import Bucket
from tests.blobstore.conftest import swift as swift


async def test_opening_makes_no_bucket_and_init_does(
    swift: Bucket, home: Path, postgres: EmbeddedPostgres
) -> None:
    name, server = f"daicho-test-{secrets.token_hex(6)}", swift.server
    settings = Settings(
        home=home,
        blobs="minio",
        minio_endpoint=server.endpoint,
        minio_access_key=server.access_key,
        minio_secret_key=server.secret_key,
        minio_bucket=name,
    )
    with pytest.raises(BlobStoreMissing, match="daicho init"):
        await Ledger.open(settings)
    assert not swift.client.bucket_exists(name)

    init = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", "from ledger.cli import main; main()", "init"],
        env={
            **os.environ,
            "DAICHO_HOME": str(home),
            "DAICHO_BLOBS": "minio",
            "MINIO_ENDPOINT": server.endpoint,
            "MINIO_ACCESS_KEY": server.access_key,
            "MINIO_SECRET_KEY": server.secret_key,
            "MINIO_BUCKET": name,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert init.returncode == 0, init.stderr
    assert f"bucket {name}" in init.stdout
    async with await Ledger.open(settings):
        pass
    swift.client.remove_bucket(name)

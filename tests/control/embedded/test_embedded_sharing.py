"""The embedded server shared by handles, processes and forks, until the last of them is done."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from embedded_helpers import REPOSITORY, Client, is_vacant, postmaster_pid, query

from ledger.control.embedded import EmbeddedPostgres

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


def test_handles_of_one_process_share_a_server_until_the_last_is_closed(home: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        handles = list(threads.map(lambda _: EmbeddedPostgres.start(home), range(8)))
        pid = postmaster_pid(home)
        assert len({query(handle, "select pg_postmaster_start_time()") for handle in handles}) == 1
        list(threads.map(lambda handle: handle.close(), handles[1:]))
        handles[1].close()
        assert query(handles[0], "select 1") == 1
        assert postmaster_pid(home) == pid
        handles[0].close()
    assert is_vacant(home)


def test_processes_that_start_at_once_share_a_server_until_the_last_is_closed(
    fresh_home: Path, start_client: Callable[..., Client]
) -> None:
    clients = [start_client(fresh_home) for _ in range(3)]
    assert len({client.hear()["postmaster"] for client in clients}) == 1
    for client in clients[:2]:
        client.tell("close")
    assert clients[2].tell("query") == {"answer": 1}
    clients[2].tell("close")
    assert is_vacant(fresh_home)


def test_a_forked_child_does_not_hold_or_end_its_parents_server(home: Path) -> None:
    server = EmbeddedPostgres.start(home)
    hold, release = os.pipe()
    child = os.fork()
    if child == 0:
        server.close()
        os.close(release)
        os.read(hold, 1)
        os._exit(0)
    os.close(hold)
    assert query(server, "select 1") == 1
    server.close()
    assert is_vacant(home), "the child, still alive, kept the parent's claim"
    os.close(release)
    os.waitpid(child, 0)


def test_a_process_that_forgets_to_close_does_so_when_it_ends(home: Path) -> None:
    code = (
        f"import pathlib, ledger.control.embedded as e; e.EmbeddedPostgres.start(pathlib.Path({str(home)!r}))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    subprocess.run(command, check=True, cwd=REPOSITORY, timeout=20)
    assert is_vacant(home)

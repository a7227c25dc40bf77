"""A client: another process that uses the embedded server, told line by line what to do.

Run as a script it starts a server in the home named by its argument, says so in one line of JSON, and then
obeys `query`, `close` (and ends) or the end of its input (and ends without closing, as if killed)."""

import asyncio
import json
import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg

import ledger
from ledger.control.embedded import EmbeddedPostgres
from ledger.control.embedded.layout import Layout
from ledger.control.embedded.locks import LockFile
from ledger.errors import EmbeddedServerError

REPOSITORY = Path(ledger.__file__).resolve().parents[1]


def query(server: EmbeddedPostgres, sql: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(**server.connect_kwargs("postgres"))
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def postmaster_pid(home: Path) -> int:
    return int(Layout.of(home).postmaster_pid.read_text().splitlines()[0])


def is_vacant(home: Path) -> bool:
    """True when no process of the home's server lives, on the kernel's word."""
    with LockFile(Layout.of(home).server_lock) as lock:
        return lock.try_exclusive()


class Client:
    def __init__(
        self, home: Path, *, user: pwd.struct_passwd | None = None, new_session: bool = False
    ) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(home), *([user.pw_name] if user else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd="/",
            start_new_session=new_session,
        )

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the client ended without a word: {self.end()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, order: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.hear()

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> tuple[str, str]:
        """What it said last. Returns only once its pipes are closed, by everybody who had a copy."""
        return self.process.communicate(timeout=20)


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def become(user: pwd.struct_passwd) -> None:
    """Done by the process itself, once its modules are loaded: the Python may lie in root's private home."""
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def _main(home: Path, user: str | None = None) -> None:
    if user is not None:
        become(pwd.getpwnam(user))
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        server = EmbeddedPostgres.start(home)
    except EmbeddedServerError as error:
        _say(error=str(error), kind=type(error).__name__)
        return
    _say(postmaster=postmaster_pid(home), uid=os.geteuid(), socket=str(server.socket_folder))
    for order in sys.stdin:
        if order.strip() == "close":
            server.close()
            _say(closed=True)
            return
        _say(answer=query(server, "select 1"))
    os._exit(1)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *sys.argv[2:])

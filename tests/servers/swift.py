"""A real OpenStack Swift with its S3 API, for the tests that need an S3 server other people wrote.

    with swift_server() as server:
        Minio(server.endpoint, server.access_key, server.secret_key, secure=False)

One *supervisor* (this module, run) imports Swift once, builds the rings and forks the account,
container, object and proxy servers. It lives exactly as long as the pipe on its stdin: when the tests end,
however they end, the pipe closes and the supervisor kills its four children by pid: nothing is left running.

Needs pip packages only (`swift`; it brings eventlet, pyeclib and xattr), and a temporary folder on a file
system with user xattrs (ext4, xfs, overlay; tmpfs since Linux 6.6). Works as any user, root included.
"""

import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.servers.s3_server import REGION, S3Server, ServerDidNotStart, free_ports

ACCESS_KEY = "test:tester"
SECRET_KEY = "testing-secret"
STARTUP_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 10.0
STARTS_MAX = 3  # a port found free may be taken before its server binds it

SERVERS = ("account", "container", "object", "proxy")

PIPELINE = (
    "catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth copy slo dlo "
    "versioned_writes symlink proxy-server"
)


@contextmanager
def swift_server() -> Iterator[S3Server]:
    """Start Swift, yield where it listens, stop it. Takes about two seconds; one per session is plenty.

    Raises ServerDidNotStart where it does not answer within STARTUP_SECONDS_MAX.
    """
    folder = Path(tempfile.mkdtemp(prefix="swift-"))
    try:
        _require_xattrs(folder)
        supervisor, ports = _start(folder)
        try:
            yield S3Server(f"127.0.0.1:{ports['proxy']}", ACCESS_KEY, SECRET_KEY)
        finally:
            _stop(supervisor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_xattrs(folder: Path) -> None:
    # Swift keeps an object's metadata in extended attributes; without them every PUT answers 507.
    try:
        os.setxattr(folder, "user.swift.probe", b"1")
    except OSError as error:
        raise ServerDidNotStart(f"no user xattrs in {folder}: {error}; set TMPDIR to another disk") from error


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    for attempt in range(1, STARTS_MAX + 1):
        home = folder / str(attempt)
        ports = free_ports(SERVERS)
        _write_settings(home, ports)
        with (folder / "swift.log").open("wb") as log:
            # As a module: were this file's folder importable, `import swift` would find this file.
            supervisor = subprocess.Popen(
                [sys.executable, "-m", __name__, str(home), *(str(ports[name]) for name in SERVERS)],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        if _answers(supervisor, ports):
            return supervisor, ports
        _stop(supervisor)
    raise ServerDidNotStart((folder / "swift.log").read_text(errors="replace")[-3000:])


def _answers(supervisor: subprocess.Popen[bytes], ports: dict[str, int]) -> bool:
    deadline = time.monotonic() + STARTUP_SECONDS_MAX
    while time.monotonic() < deadline and supervisor.poll() is None:
        if all(_healthy(port) for port in ports.values()):
            return True
        time.sleep(0.05)
    return False


def _healthy(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        try:
            connection.request("GET", "/healthcheck")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def _stop(supervisor: subprocess.Popen[bytes]) -> None:
    assert supervisor.stdin is not None
    supervisor.stdin.close()
    try:
        supervisor.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _write_settings(home: Path, ports: dict[str, int]) -> None:
    (home / "disk" / "d1").mkdir(parents=True)
    (home / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_prefix = tests\nswift_hash_path_suffix = tests\n"
    )
    for name in SERVERS:
        (home / f"{name}.conf").write_text(_defaults(home, ports[name]) + _pipeline(name))


def _defaults(home: Path, port: int) -> str:
    # workers=0 serves in the process we forked, so that its pid is the only one to stop. fallocate is
    # off because small disks answer 507 to its reserve.
    return f"""
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {home}
devices = {home / "disk"}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_address = {home / "no-syslog"}
log_level = ERROR
"""


def _pipeline(name: str) -> str:
    if name != "proxy":
        return f"""
[pipeline:main]
pipeline = healthcheck {name}-server
[app:{name}-server]
use = egg:swift#{name}
[filter:healthcheck]
use = egg:swift#healthcheck
"""
    plain = set(PIPELINE.split()) - {"s3api", "tempauth", "proxy-server"}
    filters = "".join(f"[filter:{filter}]\nuse = egg:swift#{filter}\n" for filter in sorted(plain))
    account, user = ACCESS_KEY.split(":")
    return f"""
[pipeline:main]
pipeline = {PIPELINE}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:s3api]
use = egg:swift#s3api
location = {REGION}
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {SECRET_KEY} .admin .reseller_admin
{filters}"""


# --- what the supervisor does -------------------------------------------------------------------------------


def _supervise(home: Path, ports: dict[str, int]) -> None:
    """Serve until stdin closes. Swift is imported here alone: it must never be imported into pytest."""
    import warnings

    warnings.simplefilter("ignore")
    _build_rings(home, ports)
    children = [_fork(main, home / f"{name}.conf") for name, main in _mains().items()]
    try:
        sys.stdin.buffer.read()
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        shutil.rmtree(home, ignore_errors=True)


def _mains() -> dict[str, Callable[[], None]]:
    from swift.account import server as account
    from swift.container import server as container
    from swift.obj import server as object_
    from swift.proxy import server as proxy

    return {"account": account.main, "container": container.main, "object": object_.main, "proxy": proxy.main}


def _fork(main: Callable[[], None], settings: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _die_with_parent()
        sys.argv = [settings.stem, str(settings)]
        main()
    finally:
        os._exit(1)


def _die_with_parent() -> None:
    # For a supervisor killed outright. The children are no longer in its session (Swift calls setsid).
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _build_rings(home: Path, ports: dict[str, int]) -> None:
    from swift.common.ring import RingBuilder

    for name in ("account", "container", "object"):
        builder = RingBuilder(part_power=2, replicas=1, min_part_hours=0)
        builder.add_dev(
            {
                "id": 0,
                "region": 1,
                "zone": 1,
                "weight": 1.0,
                "ip": "127.0.0.1",
                "port": ports[name],
                "device": "d1",
                "meta": "",
            }
        )
        builder.rebalance()
        builder.get_ring().save(str(home / f"{name}.ring.gz"))


if __name__ == "__main__":
    _supervise(Path(sys.argv[1]), dict(zip(SERVERS, map(int, sys.argv[2:]), strict=True)))

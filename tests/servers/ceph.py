"""A real Ceph with its S3 gateway: one monitor, one OSD that keeps everything in memory, and `radosgw`.

    with ceph_server() as server:
        Minio(server.endpoint, server.access_key, server.secret_key, secure=False)

Needs the programs of Debian's radosgw, ceph-mon, ceph-osd and ceph-common, but no manager. All of it listens
on loopback. It answers after a second, because the monitor is told to agree with itself at once; by default
it gathers proposals for a second each time, and that takes twelve.
"""

import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

from tests.servers.s3_server import S3Server, ServerDidNotStart, free_ports

PROGRAMS = ("ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "ceph", "radosgw", "radosgw-admin")
PACKAGES = "radosgw ceph-mon ceph-osd ceph-common"
ACCESS_KEY = "tester"
SECRET_KEY = "testing-secret"
STARTUP_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 10.0
STARTS_MAX = 3
MEMORY_BYTES_MAX = 1 << 30


def missing_programs() -> list[str]:
    """Those that are not installed here."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def ceph_server() -> Iterator[S3Server]:
    """Start Ceph, yield where its gateway listens, stop it. Raises ServerDidNotStart."""
    if missing := missing_programs():
        raise ServerDidNotStart(f"not installed: {', '.join(missing)}; Debian: apt-get install {PACKAGES}")
    folder = Path(tempfile.mkdtemp(prefix="ceph-"))
    try:
        cluster = _started(folder)
        try:
            yield S3Server(f"127.0.0.1:{cluster.gateway_port}", ACCESS_KEY, SECRET_KEY)
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path) -> "_Cluster":
    problem = ""
    for attempt in range(1, STARTS_MAX + 1):
        cluster = _Cluster(folder / str(attempt))
        try:
            cluster.start()
            return cluster
        except (subprocess.SubprocessError, ServerDidNotStart) as error:
            cluster.stop()
            problem = f"{error}\n{cluster.log()}"
        except BaseException:
            cluster.stop()
            raise
    raise ServerDidNotStart(problem)


class _Cluster:
    def __init__(self, home: Path) -> None:
        self._home = home
        self._daemons: list[subprocess.Popen[bytes]] = []
        ports = free_ports(("monitor", "gateway"))
        self._monitor = f"[v2:127.0.0.1:{ports['monitor']}/0]"
        self.gateway_port = ports["gateway"]
        self._fsid, self._osd_id = str(uuid4()), str(uuid4())

    def start(self) -> None:
        for folder in ("mon", "osd"):
            (self._home / folder).mkdir(parents=True)
        (self._home / "ceph.conf").write_text(self._settings())
        self._make_keys()
        monitors = ["monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", self._monitor, "monmap"]
        self._run(*monitors)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self._daemon("ceph-mon", "-i", "a")
        self._run("ceph", "osd", "new", self._osd_id)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", self._osd_id)
        self._daemon("ceph-osd", "-i", "0")
        user = ("--uid=tester", "--display-name=t", f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}")
        self._run("radosgw-admin", "-n", "client.rgw", "user", "create", *user)
        self._daemon("radosgw", "-n", "client.rgw")
        self._wait_for_gateway()

    def stop(self) -> None:
        # Nothing is worth keeping, and the OSD takes seconds to end in good order.
        for daemon in self._daemons:
            daemon.kill()
        for daemon in self._daemons:
            daemon.wait(STOP_SECONDS_MAX)

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-1000:] for path in self._home.glob("*.log"))

    def _make_keys(self) -> None:
        everything = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
        self._run("ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "mon.", *everything[:3])
        for name in ("client.admin", "client.rgw", "osd.0"):
            self._run("ceph-authtool", "keyring", "--gen-key", "-n", name, *everything)

    def _run(self, *command: str) -> None:
        with (self._home / f"{command[0]}.run.log").open("ab") as log:
            subprocess.run(
                command,
                cwd=self._home,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=STARTUP_SECONDS_MAX,
                check=True,
            )

    def _daemon(self, *command: str) -> None:
        with (self._home / f"{command[0]}.out.log").open("ab") as log:
            daemon = subprocess.Popen(
                [*command, "-f"],
                cwd=self._home,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )
        self._daemons.append(daemon)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self._home / "ceph.conf")}

    def _wait_for_gateway(self) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS_MAX
        while time.monotonic() < deadline and self._daemons[-1].poll() is None:
            if _answers(self.gateway_port):
                return
            time.sleep(0.05)
        raise ServerDidNotStart("radosgw does not answer")

    def _settings(self) -> str:
        return f"""
[global]
fsid = {self._fsid}
mon host = {self._monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
run dir = {self._home}
admin socket = {self._home}/$name.asok
log file = {self._home}/$name.log
pid file =
keyring = {self._home}/keyring
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
paxos propose interval = 0.02
paxos min wait = 0.01
mon tick interval = 1
mon allow pool size one = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
[mon.a]
mon data = {self._home}/mon
[osd.0]
osd data = {self._home}/osd
osd objectstore = memstore
memstore device bytes = {MEMORY_BYTES_MAX}
[client.rgw]
rgw data = {self._home}
rgw frontends = beast endpoint=127.0.0.1:{self.gateway_port} tcp_nodelay=1
rgw enable gc threads = false
rgw enable lc threads = false
rgw enable quota threads = false
"""


def _answers(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
    return True


def _die_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)

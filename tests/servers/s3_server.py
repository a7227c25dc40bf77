"""What every S3 server of the tests is to those who use it."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass

REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """Where an S3 server listens (`host:port`, plain http) and the keys of a user who may do everything."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = REGION


class ServerDidNotStart(Exception):
    """A server was not answering in time; the message carries the end of its log."""


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """A free loopback port for each name. One found free may be taken before its server binds it."""
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in names}  # held together: all differ
    ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
    for sock in sockets.values():
        sock.close()
    return ports

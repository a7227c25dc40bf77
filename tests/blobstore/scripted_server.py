"""An HTTP server on loopback that gives the answers a test writes down, in order, the last one for ever.

For what no healthy S3 server does when asked: fail for a moment, stop halfway, say nothing, be another thing.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """One answer. `promised_bytes` may announce more than the body has; `silent_seconds` come before it."""

    status: int
    body: bytes = b""
    content_type: str = "application/xml"
    promised_bytes: int | None = None
    silent_seconds: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


def s3_error(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>scripted</Message></Error>".encode())


@dataclass
class Script:
    """The answers to give, how slowly to read, and the requests that came: `GET /bucket/key`."""

    answers: list[Answer]
    seconds_per_mib: float = 0.0
    endpoint: str = ""
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        return [request.split()[0] for request in self.requests]


@contextmanager
def scripted_server(*answers: Answer, seconds_per_mib: float = 0.0) -> Iterator[Script]:
    script = Script(list(answers), seconds_per_mib)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(script))
    server.daemon_threads = True
    script.endpoint = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler_of(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self._read_body()
            script.requests.append(f"{self.command} {self.path}")
            script.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            time.sleep(answer.silent_seconds)
            self._send(answer)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

        def _read_body(self) -> None:
            rest = int(self.headers.get("content-length") or 0)
            while rest > 0:
                rest -= len(self.rfile.read(min(rest, 1 << 20)))
                time.sleep(script.seconds_per_mib)

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(answer.promised_bytes or len(answer.body)))
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # the client was told to give up first
                super().handle()

    return Handler

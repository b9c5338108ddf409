"""An HTTP server on loopback that sends the answers it is told to, one after the other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stages.fetch.params import FetchParams


@dataclass
class Answer:
    """What the server sends; nothing at all where `status` is None."""

    body: bytes = b""
    status: int | None = 200
    reason: str = "As told"
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    """Keep the connection open at the end, without another byte."""


class Handler(BaseHTTPRequestHandler):
    """Sends the next answer."""

    server: "ScriptedServer"

    def do_GET(self) -> None:
        """Answer one request."""
        self.server.requests.append((self.path, dict(self.headers)))
        answer = self.server.answers.pop(0)
        if answer.status:
            self.send_response(answer.status, answer.reason)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)
        if answer.silent:
            self.server.released.wait(10)

    def log_message(self, *arguments: Any) -> None:
        """Keep the test's output clean."""


class ScriptedServer(ThreadingHTTPServer):
    """Holds the answers to come, and the path and the headers of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen at a free port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()

    def handle_error(self, *arguments: Any) -> None:
        """Let a client go that has read enough."""

    def asked(self, header: str) -> list[str | None]:
        """Return what each request said under `header`."""
        return [headers.get(header) for _, headers in self.requests]


@contextmanager
def scripted() -> Iterator[ScriptedServer]:
    """Serve while the body runs."""
    server = ScriptedServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


def limits(**changes: Any) -> FetchParams:
    """Return the settings of a single attempt without any other limit, but for `changes`."""
    wide = {"attempts": 1, "stall_seconds": 5, "minimum_rate": 1, "maximum_bytes": 10**9}
    return FetchParams(**{"sources": ["anywhere"], **wide, **changes})

"""An HTTP server on loopback that sends the answers it is told to, one after the other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What the server sends; nothing at all where `status` is None."""

    body: bytes = b""
    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict)
    # What follows the body: silence while anyone listens, or bytes again, every so many seconds.
    silent: bool = False
    endless: tuple[bytes, float] | None = None


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        answer = self.server.answers.pop(0)
        if answer.status:
            self.send_response(answer.status, "As told")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)
        if answer.silent:
            self.server.released.wait(30)
        chunk, pause = answer.endless or (b"", 0)
        while chunk and not self.server.released.wait(pause):
            self.wfile.write(chunk)

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Holds the answers to come, and the path and the headers of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()

    def handle_error(self, *arguments: object) -> None:
        """Let a client go that has seen enough."""

    def asked(self, header: str) -> list[str | None]:
        """Return what each request said under `header`."""
        return [headers.get(header) for _, headers in self.requests]


@contextmanager
def serving() -> Iterator[Server]:
    """Serve while the body runs; no answer may be left in the end."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()
    assert server.answers == []

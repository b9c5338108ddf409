"""An HTTP server on loopback that serves files with ranges, or misbehaves in a named way."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = b"<!DOCTYPE html><title>Sign in</title>"


class Handler(BaseHTTPRequestHandler):
    """Serves the files of the server's folder; other paths name a way to misbehave."""

    server: "Server"

    def do_GET(self) -> None:
        """Answer one request."""
        name = self.path.strip("/")
        self.server.requests.append((name, self.headers.get("Range")))
        misbehave = getattr(self, f"send_{name}", None)
        if misbehave:
            misbehave()
            return
        path = self.server.folder / name
        if not path.exists():
            self.send_error(404)
            return
        content = path.read_bytes()
        tag = f'"{path.stat().st_mtime_ns}-{len(content)}"'
        start = 0
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        broken = self.server.break_after.pop(name, None)
        if broken is not None:
            content = content[: start + broken]
        self.wfile.write(content[start:])

    def send_html(self) -> None:
        """Return a page instead of the archive, as a proxy that wants a login does."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE)

    def send_failure(self) -> None:
        """Fail."""
        self.send_error(500)

    def send_slow(self) -> None:
        """Return five bytes a second for as long as anyone listens."""
        self.stream(b"x", 0.2)

    def send_silence(self) -> None:
        """Promise a body and send none."""
        self.stream(b"", 0.2)

    def send_endless(self) -> None:
        """Return zeros for as long as anyone listens."""
        self.stream(bytes(1 << 20), 0)

    def stream(self, chunk: bytes, pause: float) -> None:
        """Send `chunk` again and again, for at most 30 s."""
        self.send_response(200)
        self.end_headers()
        end = time.monotonic() + 30
        try:
            while time.monotonic() < end and not self.server.closing.is_set():
                self.wfile.write(chunk)
                time.sleep(pause)
        except ConnectionError:
            pass

    def log_message(self, *arguments: Any) -> None:
        """Keep the test's output clean."""


class Server(ThreadingHTTPServer):
    """Remembers what was asked for; breaks off a file's next answer where told to."""

    def __init__(self, folder: Path):
        """Serve the files of `folder` at a free port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[tuple[str, str | None]] = []
        self.break_after: dict[str, int] = {}
        self.closing = threading.Event()

    def handle_error(self, *arguments: Any) -> None:
        """Let a client go that has read enough."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve `folder` while the body runs."""
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()

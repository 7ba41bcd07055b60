"""A web client of the browser tests, whose callback redirects on and whose page opens popup windows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class AnotherClient:
    """A client that serves the same pages under each name of this machine.

    Args:
        next_url: where the callback redirects; if it is empty, the callback is a page.
        callbacks: the requests that the callback has received: method, URL, and form.
    """

    port: int = 0
    next_url: str = ""
    callbacks: list[tuple[str, str, str]] = field(default_factory=list)

    def url(self, path: str, host: str = "localhost") -> str:
        return f"http://{host}:{self.port}{path}"


@contextmanager
def another_client() -> Iterator[AnotherClient]:
    client = AnotherClient()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond("")

        def do_POST(self) -> None:
            self._respond(self.rfile.read(int(self.headers["Content-Length"])).decode())

        def _respond(self, form: str) -> None:
            is_callback = self.path.startswith("/callback")
            if is_callback:
                client.callbacks.append((self.command, self.path, form))
            self.send_response(303 if is_callback and client.next_url else 200)
            if is_callback and client.next_url:
                self.send_header("Location", client.next_url)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Client</title><link rel=icon href=data:,><p>a page of the client")

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        client.port = server.server_port
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield client
        server.shutdown()

"""HTTP servers on loopback for fetches, which can misbehave in any way that a test needs."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Site:
    """A real server on loopback with a thread per connection; it passes the socket to `serve` after the request."""

    serve: Callable[[socket.socket], None]
    context: ssl.SSLContext | None = None
    asked: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)

    def start(self, host: str = "127.0.0.1", port: int = 0) -> Site:
        self.listener = socket.create_server((host, port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def url(self, path: str = "/keys", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._one, args=self.listener.accept()[:1], daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
            request = b""
            while b"\r\n\r\n" not in request:
                if not (part := connection.recv(4096)):
                    return
                request += part
            self.asked.append(request.decode())
            try:
                self.serve(connection)
            except OSError:
                self.gone.set()
            connection.close()


@contextmanager
def running_sites() -> Iterator[Callable[..., Site]]:
    """Yield a function that starts a site, and stop all sites at the end of the block."""
    started: list[Site] = []

    def start(serve: Callable[[socket.socket], None] | bytes, **kwargs: Any) -> Site:
        context = kwargs.pop("context", None)
        behave = (lambda connection: connection.sendall(serve)) if isinstance(serve, bytes) else serve
        started.append(Site(behave, context).start(**kwargs))
        return started[-1]

    yield start
    for each in started:
        each.stopped.set()
        each.listener.close()

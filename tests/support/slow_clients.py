"""Clients that send only a part of a request and keep the connection open."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

_POST: Final = "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
_GET: Final = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"

HALF_SENT: Final = {
    "nothing": "",
    "half a header": f"{_GET}X-A: ",
    "half a body": f"{_POST}Content-Length: 1000\r\n\r\ngrant",
    "half a second request": f"{_GET}\r\nGET /heal",
    "an unfinished chunked body": f"{_POST}Transfer-Encoding: chunked\r\n\r\n5\r\ngrant\r\n",
    "a body that waits for 100": f"{_POST}Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n",
}
"""The bytes that the clients send."""

NEVER_CLOSED: Final = f"{_GET}Connection: close\r\n\r\n"
"""A request after which only the server closes the connection."""


@contextmanager
def slow_clients(port: int, number: int, sent: str) -> Iterator[list[socket.socket]]:
    """Open connections, and send only this on each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    with ExitStack() as opened:
        connections = []
        for _ in range(number):
            connections.append(opened.enter_context(socket.create_connection(("127.0.0.1", port), 60)))
            connections[-1].sendall(sent.encode())
        yield connections


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed the connection; discards the data received before."""
    connection.setblocking(False)
    try:
        while connection.recv(10_000):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        pass
    return True

"""Applications of this process, served to the browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from flask import Flask
from playwright.sync_api import Page
from werkzeug.serving import WSGIRequestHandler, make_server

Shot = Callable[[str], None]
"""Checks or photographs the current page; takes the name of its state."""


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """Serve an application of this process; yields its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@contextmanager
def another_site() -> Iterator[int]:
    """Serve a page with a form; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><form></form>")

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_port
        server.shutdown()


def statuses(page: Page) -> Callable[[], list[tuple[str, str, int]]]:
    """Return a function that lists the method, URL, and status of the requests from now on.

    The browser reports the statuses of responses that it keeps from the page too.
    """
    session = page.context.new_cdp_session(page)
    sent: dict[str, tuple[str, str]] = {}
    received: dict[str, int] = {}
    session.on(
        "Network.requestWillBeSent",
        lambda event: sent.update({event["requestId"]: (event["request"]["method"], event["request"]["url"])}),
    )
    session.on(
        "Network.responseReceivedExtraInfo", lambda event: received.update({event["requestId"]: event["statusCode"]})
    )
    session.send("Network.enable")
    return lambda: [(*sent[name], status) for name, status in received.items() if name in sent]

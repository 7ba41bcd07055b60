"""Wraps a service's WSGI application from outside: records its exchanges and answers under /_lab."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from secrets import token_hex
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click
from flask import Flask
from werkzeug.datastructures import EnvironHeaders
from werkzeug.wrappers import Request
from werkzeug.wsgi import ClosingIterator

from rolecall import clock, events, trace
from rolecall_lab.control.api import PREFIX, Control
from rolecall_lab.control.clock import Follower
from rolecall_lab.control.outage import Away
from rolecall_lab.recording.recorder import MAX_FORM, Exchange, Recorder, is_json
from rolecall_lab.recording.redaction import MAX_BODY, Redaction
from rolecall_lab.settings import LabSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

VALIDATORS: Final = ("jwt", "introspection")
"""What the header `Rolecall-Validator` may ask the resource server for."""

MAX_CHECKS_HEADER: Final = 6 * 1024
"""Bytes of the header `Rolecall-Checks`."""

_NOT_RECORDED: Final = frozenset({"/healthz", "/readyz", "/favicon.ico", "/openapi.json"})

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


def wrap(app: Flask, lab: LabSettings) -> Lab:
    """Put the lab around `app`; what it adds is also at `app.extensions["rolecall_lab"]`."""
    wrapped = Lab(app, lab)
    app.extensions["rolecall_lab"] = wrapped
    app.wsgi_app = wrapped  # type: ignore[method-assign]
    _on_the_labs_clock(app.cli, wrapped)
    return wrapped


def _on_the_labs_clock(group: click.Group, lab: Lab) -> None:
    """Let the service's commands follow the lab's clock before they begin; `check` asks for nothing of the kind."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            _on_the_labs_clock(command, lab)
        elif name != "check" and command.callback is not None:
            command.callback = _after(lab.start, command.callback)


def _after(first: Callable[[], None], callback: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(callback)
    def run(*arguments: Any, **named: Any) -> Any:
        first()
        return callback(*arguments, **named)

    return run


class Lab:
    """The outermost WSGI layer of a service."""

    def __init__(self, app: Flask, lab: LabSettings) -> None:
        self._app: WSGIApplication = app.wsgi_app
        self._flask = app
        self._lab = lab
        self._follower = Follower(lab)
        self.recorder = Recorder(lab)
        self._control = Control(app, lab, self.recorder)
        self._away: Away | None = None
        if "rolecall_auth" in app.extensions:
            self._app = self._away = Away(self._app, lab.lab_redis_url)

    def start(self) -> None:
        """Follow the lab's clock in this process; does nothing when it does so already."""
        self._follower.start()

    def stop(self) -> None:
        """Write what still waits, before the process ends."""
        self._follower.stop()
        if self._away is not None:
            self._away.stop()
        self.recorder.flush()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """HttpResponse or pass on one request."""
        self.start()
        path = environ.get("PATH_INFO", "")
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            return self._control.answer(Request(environ))(environ, start_response)
        if path in _NOT_RECORDED or path.startswith("/static/"):
            return self._app(environ, start_response)
        return self._record(environ, start_response)

    def _record(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = clock.monotonic()
        if self._lab.role == "resource_server" and (asked := environ.get("HTTP_ROLECALL_VALIDATOR")) in VALIDATORS:
            environ["rolecall.validator"] = asked
        body = environ["wsgi.input"] = _Copying(environ["wsgi.input"], MAX_FORM + 1)
        exchange = Exchange(
            "received",
            environ["REQUEST_METHOD"],
            _url(environ),
            dict(EnvironHeaders(environ)),
            0.0,
            back_channel=self._is_back_channel(environ),
            own_cookies=(self._flask.config["SESSION_COOKIE_NAME"],),
            serving=token_hex(8),
        )
        notebook = events.Notebook(on_sent=partial(self._record_sent, exchange.serving))

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
        ) -> Callable[[bytes], object]:
            exchange.status = int(status[:3])
            exchange.response_headers = [*headers]
            exchange.trace = trace.current()
            if self._lab.role == "resource_server":
                headers = [*headers, ("Rolecall-Checks", self._checks_header(environ, notebook, began))]
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        def finish() -> None:
            exchange.milliseconds = (clock.monotonic() - began) * 1000
            exchange.ended, exchange.offset = clock.now(), clock.offset()
            exchange.request_body = body.copy()
            exchange.notes = [note for note in notebook.notes if note["kind"] != "sent"]
            self.recorder.record(exchange)

        with events.watching(notebook):
            answer = self._app(environ, start)
        return ClosingIterator(_copied(answer, exchange), [getattr(answer, "close", lambda: None), finish])

    def _record_sent(self, serving: str, message: dict[str, Any]) -> None:
        answer = message["response"]
        self.recorder.record(
            Exchange(
                "sent",
                message["method"],
                message["url"],
                dict(message["headers"]),
                answer.milliseconds if answer else 0.0,
                serving=serving,
                request_body=(message["body"] or b"")[: MAX_FORM + 1],
                status=answer.status if answer else None,
                failure=message["failure"],
                response_headers=[*answer.headers.items()] if answer else [],
                # a byte too many shows that it was too long
                body=answer.body[: MAX_BODY + 1] if answer else b"",
            )
        )

    def _is_back_channel(self, environ: WSGIEnvironment) -> bool:
        """Whether a program sent the request by itself, and not a browser on somebody's behalf."""
        if self._lab.role == "client" or environ.get("HTTP_SEC_FETCH_MODE") == "navigate":
            return False
        if self._lab.role == "resource_server" or "HTTP_AUTHORIZATION" in environ:
            return True
        routes = self._flask.extensions.get("rolecall_routes", ())
        return any(route.kind == "api" and route.path == environ.get("PATH_INFO") for route in routes)

    def _checks_header(self, environ: WSGIEnvironment, notebook: events.Notebook, began: float) -> str:
        """What the resource server did, for the client's page; expected and actual are left out when it is long."""
        redaction = Redaction(self._lab.lab_key)
        sent = [note for note in notebook.notes if note["kind"] == "sent"]
        checks = [note for note in notebook.notes if note["kind"] == "check"]
        report: dict[str, Any] = {
            "validator": environ.get("rolecall.validator"),
            "milliseconds": round((clock.monotonic() - began) * 1000, 2),
            "calls": [_call(note) for note in sent],
            "checks": [
                {name: _brief(redaction.fact(check.get(name))) for name in keys}
                for check in checks
                for keys in [("name", "passed", "expected", "actual", "clause")]
            ],
        }
        if len(text := _compact(report)) > MAX_CHECKS_HEADER:
            report["checks"] = [{name: check.get(name) for name in ("name", "passed", "clause")} for check in checks]
            text = _compact(report)
        while len(text) > MAX_CHECKS_HEADER:
            report["checks" if report["checks"] else "calls"].pop()
            text = _compact(report)
        return text


class _Copying(io.RawIOBase):
    """A request's body that keeps a copy of what the application reads, and reads nothing by itself.

    Args:
        limit: bytes of the copy.
    """

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._copy = bytearray()

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into `buffer`; gives the number of bytes."""
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._copy += data[: self._limit - len(self._copy)]
        return len(data)

    def copy(self) -> bytes:
        """What was read so far, up to the limit."""
        return bytes(self._copy)


def _copied(answer: Iterable[bytes], exchange: Exchange) -> Iterator[bytes]:
    """Pass an answer on; a body of JSON is kept, and a byte too many shows that it was too long."""
    wanted = is_json(dict(exchange.response_headers).get("Content-Type", ""))
    for chunk in answer:
        if wanted and len(exchange.body) <= MAX_BODY:
            exchange.body += chunk[: MAX_BODY + 1 - len(exchange.body)]
        yield chunk


def _url(environ: WSGIEnvironment) -> str:
    """Path and query; only what is recorded of the host is its header."""
    path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode(errors="replace")
    return f"{path}?{environ.get('QUERY_STRING', '')}"


def _call(note: dict[str, Any]) -> dict[str, Any]:
    parts = urlsplit(note["url"])
    answer = note["response"]
    return {
        "method": note["method"],
        "url": f"{parts.scheme}://{parts.netloc}{parts.path}"[:200],
        "status": answer.status if answer else None,
        "milliseconds": round(answer.milliseconds, 2) if answer else None,
        # of the bodies
        "sent_bytes": len(note["body"] or b""),
        "received_bytes": len(answer.body) if answer else None,
    }


def _brief(value: Any) -> Any:
    """A recorded fact as the header shows it: one short line."""
    if isinstance(value, dict):
        return value.get("shown", "…")
    if isinstance(value, list):
        return ", ".join(str(_brief(each)) for each in value)[:200]
    return value[:200] if isinstance(value, str) else value


def _compact(report: dict[str, Any]) -> str:
    """ASCII, one line."""
    return json.dumps(report, separators=(",", ":"))

"""The lab's WSGI layer around a service: it records the exchanges and serves the control API at `/_lab`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache, partial, wraps
from random import getrandbits
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click
from flask import Flask

from rolecall import checks, clock, events, trace
from rolecall.clock import Clock
from rolecall.errors import OAuthError, allowed_in_description
from rolecall_lab.control.api import PREFIX, ControlApi
from rolecall_lab.control.clock import Follower
from rolecall_lab.control.outage import Outage
from rolecall_lab.hosts import redirect_to_public_host, reject_unknown_hosts, requested_path
from rolecall_lab.recording.event import MAX_FORM, Exchange, is_json
from rolecall_lab.recording.recorder import Recorder
from rolecall_lab.recording.redaction import Redaction
from rolecall_lab.recording.rules import MAX_BODY
from rolecall_lab.settings import LabSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from rolecall_lab.control.actions import Actions

VALIDATORS: Final = ("jwt", "introspection")
"""Valid values of the header `Rolecall-Validator`, which selects how the resource server validates the token."""

MAX_CHECKS_HEADER: Final = 6 * 1024
"""Maximum size of the header `Rolecall-Checks`, in bytes."""

MAX_DETAIL: Final = 1000
"""Maximum length of the detail in an error response, in characters."""

_NOT_RECORDED: Final = frozenset({"/healthz", "/readyz", "/favicon.ico", "/openapi.json"})

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


def wrap(app: Flask, lab: LabSettings, actions: Actions | None = None) -> Lab:
    """Put the lab around `app`, for known host names only, and store it as `app.extensions["rolecall_lab"]`.

    Args:
        actions: the actions of the authorization server, which also gets simulated outages; None for other services.
    """
    layer = Lab(app, lab, actions)
    app.extensions["rolecall_lab"] = layer
    app.extensions["rolecall_describe"] = describe
    redirected = redirect_to_public_host(layer, app, lab.own_url)
    app.wsgi_app = reject_unknown_hosts(redirected, lab)  # type: ignore[method-assign, assignment]
    _synchronize_commands(app.cli, layer)
    return layer


def describe(error: OAuthError) -> str:
    """Return the description of a rejected request with its detail, which production only logs."""
    detail = error.detail or ""
    if not detail or error.status >= 500 or detail in checks.registry or detail == error.description:
        return error.description
    return f"{error.description} Detail: {allowed_in_description(detail)[:MAX_DETAIL]}"


def _synchronize_commands(group: click.Group, lab: Lab) -> None:
    """Make the service's commands use the lab's clock, except for `check`, which does not depend on the time."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            _synchronize_commands(command, lab)
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

    def __init__(self, app: Flask, lab: LabSettings, actions: Actions | None = None) -> None:
        self._flask = app
        self._lab = lab
        prefix = app.config.get("COOKIE_PREFIX", "")
        kinds = ("request", "flow", "form")
        self._own_cookies = (app.config["SESSION_COOKIE_NAME"], *(f"{prefix}_{kind}" for kind in kinds))
        self._clock: Clock = app.extensions.setdefault("rolecall_clock", clock.PROCESS)
        self._follower = Follower(lab, self._clock)
        self.recorder = Recorder(lab)
        self._outage = Outage(app.wsgi_app, lab.lab_redis_url) if actions is not None else None
        self._app: WSGIApplication = self._outage or app.wsgi_app
        self._control = ControlApi(app, lab, self.recorder, actions).create_app()

    def start(self) -> None:
        """Synchronize the application's clock with the lab's clock; has no effect if it is already synchronized."""
        self._follower.start()

    def stop(self) -> None:
        """Stop the threads and write the queued events, before the process ends."""
        self._follower.stop()
        if self._outage is not None:
            self._outage.stop()
        self.recorder.flush()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request, from the control API or from the service."""
        self.start()
        path = environ.get("PATH_INFO", "")
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            return self._control(environ, start_response)
        if path in _NOT_RECORDED or path.startswith("/static/"):
            return self._app(environ, start_response)
        return self._record(environ, start_response)

    def _record(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = clock.monotonic()
        if self._lab.role == "resource_server" and (validator := environ.get("HTTP_ROLECALL_VALIDATOR")) in VALIDATORS:
            environ["rolecall.validator"] = validator
        body = environ["wsgi.input"] = _CopyingInput(environ["wsgi.input"], MAX_FORM + 1)
        url, headers, back_channel = _url(environ), _headers(environ), self._is_back_channel(environ)
        serving = f"{getrandbits(64):016x}"
        notebook = events.Notebook(on_sent=partial(self._record_sent, serving))

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
        ) -> Callable[[bytes], object]:
            copy.begin(status, headers)
            if self._lab.role == "resource_server":
                headers = [*headers, ("Rolecall-Checks", self._checks_header(environ, notebook, began))]
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        def finish() -> None:
            self.recorder.record(
                Exchange(
                    "received",
                    environ["REQUEST_METHOD"],
                    url,
                    headers,
                    (clock.monotonic() - began) * 1000,
                    back_channel=back_channel,
                    trace=copy.trace,
                    serving=serving,
                    request_body=body.copy(),
                    status=copy.status,
                    response_headers=copy.headers,
                    body=copy.body,
                    notes=[note for note in notebook.notes if note["kind"] != "sent"],
                    own_cookies=self._own_cookies,
                    ended=self._clock.now(),
                    offset=self._clock.offset,
                )
            )

        copy = _CopyingOutput(finish)
        with events.watching(notebook):
            copy.response = self._app(environ, start)
        return copy

    def _record_sent(self, serving: str, message: dict[str, Any]) -> None:
        response = message["response"]
        self.recorder.record(
            Exchange(
                "sent",
                message["method"],
                message["url"],
                dict(message["headers"]),
                response.milliseconds if response else 0.0,
                serving=serving,
                request_body=(message["body"] or b"")[: MAX_FORM + 1],
                status=response.status if response else None,
                failure=message["failure"],
                response_headers=[*response.headers.items()] if response else [],
                # one byte more than allowed shows that the body is too long
                body=response.body[: MAX_BODY + 1] if response else b"",
            )
        )

    def _is_back_channel(self, environ: WSGIEnvironment) -> bool:
        """Return whether a service sent the request, as opposed to a person's browser."""
        if self._lab.role == "client" or environ.get("HTTP_SEC_FETCH_MODE") == "navigate":
            return False
        if self._lab.role == "resource_server" or "HTTP_AUTHORIZATION" in environ:
            return True
        return environ.get("PATH_INFO") in self._api_paths

    @cached_property
    def _api_paths(self) -> frozenset[str]:
        return frozenset(
            route.path for route in self._flask.extensions.get("rolecall_routes", ()) if route.kind == "api"
        )

    def _checks_header(self, environ: WSGIEnvironment, notebook: events.Notebook, began: float) -> str:
        """Describe the validation for the client's page; without expected and actual values if it would be too long."""
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


class _CopyingInput(io.RawIOBase):
    """A request's body that copies what the application reads, and does not read anything itself.

    Args:
        limit: the maximum size of the copy, in bytes.
    """

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._copy = bytearray()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._copy += data[: self._limit - len(self._copy)]
        return len(data)

    def copy(self) -> bytes:
        return bytes(self._copy)


class _CopyingOutput:
    """A response and a copy of it: its status, headers, and trace ID, and its body if that is JSON.

    Args:
        finish: is called when the response is closed.
    """

    __slots__ = ("_finish", "body", "headers", "response", "status", "trace")

    def __init__(self, finish: Callable[[], None]) -> None:
        self._finish = finish
        self.response: Iterable[bytes] = ()
        self.status: int | None = None
        self.headers: list[tuple[str, str]] = []
        self.trace: str | None = None
        self.body = b""

    def begin(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = int(status[:3])
        self.headers = [*headers]
        self.trace = trace.current()

    def __iter__(self) -> Iterator[bytes]:
        """Pass on the body; one byte more than allowed shows that it is too long."""
        copies = any(name == "Content-Type" and is_json(text) for name, text in self.headers)
        for chunk in self.response:
            if copies and len(self.body) <= MAX_BODY:
                self.body += chunk[: MAX_BODY + 1 - len(self.body)]
            yield chunk

    def close(self) -> None:
        """Close the response, and finish its record."""
        if (close := getattr(self.response, "close", None)) is not None:
            close()
        self._finish()


def _headers(environ: WSGIEnvironment) -> dict[str, str]:
    """Return the headers of a request, with names in lower case."""
    headers = {_header_name(name): text for name, text in environ.items() if name[:5] == "HTTP_"}
    headers.pop("content-type", None)
    headers.pop("content-length", None)
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if text := environ.get(name):
            headers[name.replace("_", "-").lower()] = text
    return headers


@lru_cache(maxsize=512)
def _header_name(name: str) -> str:
    return name[5:].replace("_", "-").lower()


def _url(environ: WSGIEnvironment) -> str:
    """Return the path and the query; the host is recorded from its header."""
    return f"{requested_path(environ)}?{environ.get('QUERY_STRING', '')}"


def _call(note: dict[str, Any]) -> dict[str, Any]:
    parts = urlsplit(note["url"])
    response = note["response"]
    return {
        "method": note["method"],
        "url": f"{parts.scheme}://{parts.netloc}{parts.path}"[:200],
        "status": response.status if response else None,
        "milliseconds": round(response.milliseconds, 2) if response else None,
        # sizes of the bodies
        "sent_bytes": len(note["body"] or b""),
        "received_bytes": len(response.body) if response else None,
    }


def _brief(value: Any) -> Any:
    """Return a recorded value in the form of the header: one short line."""
    if isinstance(value, dict):
        return value.get("shown", "…")
    if isinstance(value, list):
        return ", ".join(str(_brief(each)) for each in value)[:200]
    return value[:200] if isinstance(value, str) else value


def _compact(report: dict[str, Any]) -> str:
    return json.dumps(report, separators=(",", ":"))

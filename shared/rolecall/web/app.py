"""The Flask application that every service starts from."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flask import Blueprint, Flask, Request, Response, abort, current_app, g, request
from werkzeug.routing import MapAdapter

from rolecall import clock, logs, metrics, trace
from rolecall.clock import Clock, current_object
from rolecall.settings import ServiceSettings, SettingsError
from rolecall.web.bodies import MAX_REQUEST_BODY, REJECTED, receive_body
from rolecall.web.cors import CrossOrigin
from rolecall.web.errors import register_error_handlers, reject_foreign_form
from rolecall.web.headers import SECURITY_HEADERS, CookieSessions
from rolecall.web.health import HEALTH_PATHS
from rolecall.web.proxies import behind_proxies
from rolecall.web.routes import current_kind, current_route, is_speculative

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from prometheus_client import Counter, Histogram

log = logging.getLogger("rolecall.access")

_STYLE_SHEET: Final = Path(__file__).parents[1] / "static" / "rolecall.css"
_STYLE_VERSION: Final = hashlib.sha256(_STYLE_SHEET.read_bytes()).hexdigest()[:8]
"""Part of the style sheet's URL: browsers cache it for an hour, and a new release needs its new version."""

_HOST: Final = re.compile(
    r"(?=.{0,260}$)(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{0,5})?"
)

_WELL_KNOWN: Final = re.compile(r"(/\.well-known/[^/]+)(/.*)")

S = TypeVar("S")


class Application(Flask):
    """A service, which can be located under a path of its host, such as `/s/abc`.

    URLs from `url_for` include the path. A well-known document of the service has the path after its name (RFC 8414
    section 3.1): `/.well-known/oauth-authorization-server/s/abc`. The health checks are at the root too, because the
    container that calls them does not know the path.

    Args:
        path: starts with a slash and does not end with one; empty if the service is at the root of its host.
        trusted_proxies: the number of proxies in front of the service.
    """

    def __init__(self, import_name: str, path: str = "", trusted_proxies: int = 0) -> None:
        super().__init__(import_name)
        self.path = path
        self._outermost = behind_proxies(self._serve, trusted_proxies)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request; return 404 if its path does not belong to the service."""
        return self._outermost(environ, start_response)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, because no view is asynchronous; Flask would inspect it for each call."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the adapter of a request, without Flask's work for subdomains and server names."""
        if request is None:
            return super().create_url_adapter(request)
        environ = request.environ
        return MapAdapter(
            self.url_map,
            request.host.lower(),
            environ.get("SCRIPT_NAME", "").encode("latin-1").decode(errors="replace"),
            "",
            environ["wsgi.url_scheme"],
            environ.get("PATH_INFO", "").encode("latin-1").decode(errors="replace"),
            environ["REQUEST_METHOD"],
            environ.get("QUERY_STRING", ""),
        )

    def cross_origin_headers(self, path: str, origin: str | None = None) -> list[tuple[str, str]]:
        """Return the CORS headers of a response to a request; see `rolecall.web.cors.CrossOrigin.headers`.

        Args:
            path: the whole path of the request.
        """
        local = self.local_path(path)
        return [] if local is None else self._cross_origin.headers(local, origin)

    def _serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        receive_body(environ, self.config["MAX_CONTENT_LENGTH"])
        requested = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if self.path and requested not in HEALTH_PATHS:
            path = self.local_path(requested)
            if path is None:
                return plain_response(404, f"Not found. The service is at {self.path}/.", start_response)
            environ |= {"SCRIPT_NAME": self.path, "PATH_INFO": path}
        start_response = self._cross_origin.wrap(environ, start_response)
        if preflight := self._cross_origin.preflight(environ):
            start_response("204 No Content", [*SECURITY_HEADERS.items(), *preflight])
            return ()
        return super().__call__(environ, start_response)

    @cached_property
    def _cross_origin(self) -> CrossOrigin:
        return CrossOrigin(self.extensions.get("rolecall_routes", ()), self.extensions["rolecall_settings"])

    def local_path(self, path: str) -> str | None:
        """Return the part of a request's path below the path of the service; None if it belongs to another service."""
        if path == self.path or path.startswith(f"{self.path}/"):
            rest = path.removeprefix(self.path)
            return None if rest.startswith("//") else rest or "/"
        match = _WELL_KNOWN.fullmatch(path)
        return match[1] if match and match[2] == self.path else None


def create_flask(
    import_name: str, settings: ServiceSettings, *, path: str = "", own_clock: Clock | None = None
) -> Application:
    """Create a Flask application with the configuration, hooks, and error handlers that all services share.

    Args:
        path: the path of the service at its host; see `Application`.
        own_clock: the clock of the application, if it is not that of the process.
    """
    logs.configure(settings.SERVICE, settings.log_level)
    app = Application(import_name, path, settings.trusted_proxies)
    app.extensions["rolecall_clock"] = own_clock or clock.PROCESS
    app.config.update(
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=MAX_REQUEST_BODY,
        MAX_FORM_MEMORY_SIZE=MAX_REQUEST_BODY,
        MAX_FORM_PARTS=100,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
    )
    # a path with a double slash is not found: a redirect to the merged path would trust the Host header
    app.url_map.merge_slashes = False
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["style_version"] = _STYLE_VERSION
    app.extensions["rolecall_settings"] = settings
    app.extensions["rolecall_rows"] = {}
    app.extensions["rolecall_kinds"] = {}
    app.extensions["rolecall_cross_site"] = set()
    app.register_blueprint(
        Blueprint(
            "rolecall",
            "rolecall",
            template_folder="templates",
            static_folder="static",
            static_url_path="/static/rolecall",
        )
    )
    app.session_interface = CookieSessions()
    app.wsgi_app = _reject_invalid_hosts(_with_headers(app.wsgi_app))  # type: ignore[method-assign, assignment]
    app.before_request(_begin)
    app.after_request(_finish)
    register_error_handlers(app)
    return app


_DEFAULTS: Final = tuple((name.lower(), (name, value)) for name, value in SECURITY_HEADERS.items())
_OF_POPUPS: Final = tuple(row for row in _DEFAULTS if row[0] != "cross-origin-opener-policy")

_STRICT_TRANSPORT: Final = ("Strict-Transport-Security", "max-age=31536000")

_IN_POPUPS: Final = "rolecall.in_popups"
"""The member of the WSGI environment that is set for the routes that clients may open in a popup window."""


def _with_headers(application: WSGIApplication) -> WSGIApplication:
    """Add the headers of every response, unless the response already has them."""

    def middleware(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            present = {name.lower() for name, _ in headers}
            defaults = _OF_POPUPS if _IN_POPUPS in environ else _DEFAULTS
            headers += [header for name, header in defaults if name not in present]
            headers.append(("X-Request-Id", trace.current() or "-"))
            if environ["wsgi.url_scheme"] == "https":
                headers.append(_STRICT_TRANSPORT)
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return application(environ, start)

    return middleware


def _reject_invalid_hosts(application: WSGIApplication) -> WSGIApplication:
    """Return 400 for an invalid host (RFC 9112 section 3.2), before any code builds a URL from it.

    The host is that of the Host header or, behind trusted proxies, that of X-Forwarded-Host.
    """

    def middleware(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if _HOST.fullmatch(environ.get("HTTP_HOST", "")):
            return application(environ, start_response)
        return plain_response(400, "The Host header is invalid.", start_response, ("Connection", "close"))

    return middleware


def plain_response(status: int, text: str, start_response: StartResponse, *headers: tuple[str, str]) -> Iterable[bytes]:
    """Send a one-line response to a request that does not reach an application."""
    body = f"{text}\n".encode()
    standard = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(f"{status} {HTTPStatus(status).phrase}", [*standard, *SECURITY_HEADERS.items(), *headers])
    return [body]


def app_of_environ(create_app: Callable[[S], Flask], read_settings: Callable[[Mapping[str, str]], S]) -> Flask:
    """Create the application with settings from the environment, for gunicorn and `flask`.

    Print each invalid setting on a separate line and exit with code 4, which tells gunicorn not to try again.
    """
    try:
        return create_app(read_settings(os.environ))
    except SettingsError as error:
        print(*(f"{error.service}: {fault}" for fault in error.faults), sep="\n", file=sys.stderr)  # noqa: T201
        sys.exit(4)


def _begin() -> Response | None:
    incoming, context = current_object(request), current_object(g)
    environ = incoming.environ
    trace.begin(environ.get("HTTP_TRACEPARENT"))
    context.started = clock.monotonic()
    context.kind = current_kind()
    route = current_route()
    if route is not None and route.in_popups:
        environ[_IN_POPUPS] = True
    if status := environ.get(REJECTED):
        abort(status)
    if incoming.method == "POST":
        reject_foreign_form()
    if route is None:
        return None
    is_unsafe_head = incoming.method == "HEAD" and not route.safe
    if is_unsafe_head or (route.kind == "page" and is_speculative()):
        return Response(status=204)
    return None


def _finish(response: Response) -> Response:
    incoming = current_object(request)
    if response.is_sequence and response.calculate_content_length() == 0:
        # an empty body has no media type (RFC 9110 section 8.3)
        del response.headers["Content-Type"]
    if incoming.endpoint not in {"healthz", "readyz", "static", "rolecall.static"}:
        _account_for(incoming, response.status_code)
    return response


def _account_for(incoming: Request, status: int) -> None:
    """Count and log the request."""
    context, method, rule = current_object(g), incoming.method, incoming.url_rule
    is_allowed = rule is not None and method in (rule.methods or ())
    seconds = clock.monotonic() - context.get("started", clock.monotonic())
    service = current_object(current_app).extensions["rolecall_settings"].SERVICE
    requests, duration = _metrics(service, incoming.endpoint or "none", method if is_allowed else "other", status)
    requests.inc()
    duration.observe(seconds)
    log.info(
        "request",
        extra={
            "method": method,
            "path": incoming.path[:200],
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "client_id": context.get("client_id"),
            "flow_id": context.get("flow_id"),
        },
    )


@cache
def _metrics(service: str, route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return metrics.REQUESTS.labels(service, route, method, status), metrics.SECONDS.labels(service, route)

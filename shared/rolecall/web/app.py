"""The Flask application that every service starts from."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from flask import Blueprint, Flask, Response, abort, current_app, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from rolecall import clock, logs, metrics, trace
from rolecall.settings import ServiceSettings, SettingsError
from rolecall.web.errors import register_error_handlers
from rolecall.web.headers import SECURITY_HEADERS
from rolecall.web.routes import allowed_methods, current_kind

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("rolecall.access")

MAX_REQUEST_BODY: Final = 64 * 1024
"""Bytes; no request to these services needs a longer body."""

_STYLE_SHEET: Final = Path(__file__).parents[1] / "static" / "rolecall.css"
_STYLE_VERSION: Final = hashlib.sha256(_STYLE_SHEET.read_bytes()).hexdigest()[:8]
"""Part of the style sheet's URL: browsers cache it for an hour, and a new release needs its new version."""

_HOST: Final = re.compile(
    r"(?=.{0,260}$)(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{0,5})?"
)

S = TypeVar("S", bound=ServiceSettings)


def create_flask(import_name: str, settings: ServiceSettings) -> Flask:
    """Create a Flask application with the configuration, hooks, and error handlers that all services share."""
    logs.configure(settings.SERVICE, settings.log_level)
    app = Flask(import_name)
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
    app.extensions["rolecall_kinds"] = {}
    app.register_blueprint(
        Blueprint(
            "rolecall",
            "rolecall",
            template_folder="templates",
            static_folder="static",
            static_url_path="/static/rolecall",
        )
    )
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]
    app.wsgi_app = _reject_invalid_hosts(app.wsgi_app)  # type: ignore[method-assign, assignment]
    app.before_request(_begin)
    app.after_request(_finish)
    register_error_handlers(app)
    return app


def _reject_invalid_hosts(application: WSGIApplication) -> WSGIApplication:
    """Return 400 for an invalid Host header (RFC 9112 section 3.2), before any code builds a URL from it."""

    def middleware(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        hosts = (environ.get("HTTP_HOST", ""), environ.get("HTTP_X_FORWARDED_HOST", ""))
        if all(_HOST.fullmatch(host) for host in hosts):
            return application(environ, start_response)
        text = b"The Host header is invalid.\n"
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(text))), *SECURITY_HEADERS.items()]
        start_response("400 Bad Request", [*headers, ("Connection", "close")])
        return [text]

    return middleware


def app_of_environ(create_app: Callable[[S], Flask], settings: type[S]) -> Flask:
    """Create the application with settings from the environment, for gunicorn and `flask`.

    Print each invalid setting on a separate line and exit with code 4, which tells gunicorn not to try again.
    """
    try:
        return create_app(settings.from_environ(os.environ))
    except SettingsError as error:
        print(*(f"{settings.SERVICE}: {fault}" for fault in error.faults), sep="\n", file=sys.stderr)  # noqa: T201
        sys.exit(4)


def _begin() -> None:
    trace.begin(request.headers.get("traceparent"))
    g.started = clock.monotonic()
    g.kind = current_kind()
    if "Transfer-Encoding" in request.headers:
        # Werkzeug would truncate a body of unknown length at the limit instead of rejecting it (RFC 9110 15.5.12)
        abort(411)
    # checked for every request, because not every view reads the body (RFC 9110 section 15.5.14)
    if (request.content_length or 0) > MAX_REQUEST_BODY:
        abort(413)


def _finish(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = trace.current() or "-"
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint not in {"healthz", "readyz", "static", "rolecall.static"}:
        seconds = clock.monotonic() - g.get("started", clock.monotonic())
        service, route = current_app.extensions["rolecall_settings"].SERVICE, request.endpoint or "none"
        method = request.method if request.method in allowed_methods() else "other"
        metrics.REQUESTS.labels(service, route, method, response.status_code).inc()
        metrics.SECONDS.labels(service, route).observe(seconds)
        log.info(
            "request",
            extra={
                "method": request.method,
                "path": request.path[:200],
                "status": response.status_code,
                "milliseconds": round(seconds * 1000, 1),
                "client_id": g.get("client_id"),
                "flow_id": g.get("flow_id"),
            },
        )
    return response

"""What every service's Flask application has: routes from a table, headers, health, request ids, error answers."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar
from urllib.parse import urlsplit

import click
import redis
import sqlalchemy as sa
from flask import Blueprint, Flask, Response, abort, current_app, g, jsonify, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.middleware.proxy_fix import ProxyFix

from rolecall import audit, clock, logs, metrics, sql, trace
from rolecall.errors import NO_STORE, OAuthError, json_response, unavailable
from rolecall.settings import ServiceSettings, SettingsError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("rolecall.access")

MAX_REQUEST_BODY: Final = 64 * 1024
"""Bytes; nothing that these services are sent is longer."""

_STYLE_VERSION: Final = hashlib.sha256((Path(__file__).parent / "static" / "rolecall.css").read_bytes()).hexdigest()[:8]
"""In the style sheet's address: browsers keep it for an hour, and a new release's pages need their own."""

_HOST: Final = re.compile(
    r"(?=.{0,260}$)(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{0,5})?"
)

S = TypeVar("S", bound=ServiceSettings)
Kind = Literal["page", "api"]


@dataclass(frozen=True, slots=True)
class Route:
    """A row of a service's table of URLs.

    Args:
        name: the endpoint's name in Flask.
        kind: who reads the answer, a person (page) or a program (api).
        clause: what it implements.
        metadata: the member of the server's metadata that names its address, if any.
        csrf: whether a POST must carry our token; only for pages.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    view: Callable[..., ResponseReturnValue]
    kind: Kind
    clause: str
    metadata: str | None = None
    csrf: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """What an error page says: what happened, and what the person can do next, as (label, address) links.

    Args:
        retry_after: seconds for the `Retry-After` header.
    """

    status: int
    title: str
    explanation: str
    links: tuple[tuple[str, str], ...] = ()
    is_error: bool = True
    retry_after: int | None = None


class PageError(Exception):
    """Ends a page's request with an error page."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem


def create_flask(import_name: str, settings: ServiceSettings) -> Flask:
    """A Flask application with everything that the services share; routes are registered afterwards."""
    logs.configure(settings.SERVICE, settings.log_level)
    app = Flask(import_name)
    app.config.update(
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=MAX_REQUEST_BODY,
        MAX_FORM_MEMORY_SIZE=MAX_REQUEST_BODY,
        MAX_FORM_PARTS=100,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
    )
    # a path with two slashes is another path: no redirect, which would believe the Host header
    app.url_map.merge_slashes = False
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["style_version"] = _STYLE_VERSION
    app.extensions["rolecall_settings"] = settings
    app.extensions["rolecall_kinds"] = {}
    app.register_blueprint(
        Blueprint(
            "rolecall",
            __name__,
            template_folder="templates",
            static_folder="static",
            static_url_path="/static/rolecall",
        )
    )
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]
    app.wsgi_app = _refuse_strange_hosts(app.wsgi_app)  # type: ignore[method-assign, assignment]
    app.before_request(_begin)
    app.after_request(_finish)
    app.register_error_handler(OAuthError, _oauth_error)
    app.register_error_handler(PageError, _page_error)
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(redis.RedisError, _store_error)
    for unavailable_store in sql.UNAVAILABLE:
        app.register_error_handler(unavailable_store, _store_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def _refuse_strange_hosts(application: WSGIApplication) -> WSGIApplication:
    """400 for a Host that can be no host's name (RFC 9112 section 3.2), before anybody makes an address of it."""

    def refuse_or_pass(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        hosts = (environ.get("HTTP_HOST", ""), environ.get("HTTP_X_FORWARDED_HOST", ""))
        if all(_HOST.fullmatch(host) for host in hosts):
            return application(environ, start_response)
        text = b"The Host header names no host.\n"
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(text))), *_HEADERS.items()]
        start_response("400 Bad Request", [*headers, ("Connection", "close")])
        return [text]

    return refuse_or_pass


def app_of_environ(create_app: Callable[[S], Flask], settings: type[S]) -> Flask:
    """The application with the settings of the environment, for gunicorn and `flask`.

    Faults in them are one clear line each, and exit code 4, which tells gunicorn not to try again.
    """
    try:
        return create_app(settings.from_environ(os.environ))
    except SettingsError as error:
        print(*(f"{settings.SERVICE}: {fault}" for fault in error.faults), sep="\n", file=sys.stderr)  # noqa: T201
        sys.exit(4)


def register(app: Flask, routes: Sequence[Route]) -> None:
    """Enter the table of routes; every POST of a page is protected from other sites' forms, unless it says not."""
    app.extensions["rolecall_routes"] = tuple(routes)
    csrf = CSRFProtect(app) if any(route.kind == "page" and "POST" in route.methods for route in routes) else None
    for route in routes:
        app.add_url_rule(route.path, route.name, route.view, methods=list(route.methods))
        app.extensions["rolecall_kinds"][route.name] = route.kind
        if csrf is not None and (route.kind == "api" or not route.csrf):
            csrf.exempt(route.view)


def health_routes(app: Flask, ready: dict[str, Callable[[], bool]]) -> list[Route]:
    """`/healthz` (the process serves) and `/readyz` (every question in `ready` is answered with yes; else 503).

    A question may also raise, with a text that says what to do. `flask check` asks the same ones and tells those texts.
    Whoever wraps the application may add questions to `app.extensions["rolecall_ready"]`.
    """
    app.extensions["rolecall_ready"] = ready
    app.cli.add_command(click.Command("check", callback=lambda: _check(ready), help=_check.__doc__))

    def healthz() -> ResponseReturnValue:
        return jsonify(status="ok"), 200, NO_STORE

    def readyz() -> ResponseReturnValue:
        parts = {name: _holds(question) for name, question in ready.items()}
        status = 200 if all(parts.values()) else 503
        return jsonify(status="ready" if status == 200 else "not ready", **parts), status, NO_STORE

    return [
        Route("healthz", "/healthz", ("GET",), healthz, "api", "none: the process serves"),
        Route("readyz", "/readyz", ("GET",), readyz, "api", "none: all that it needs answers"),
    ]


def _check(ready: dict[str, Callable[[], bool]]) -> None:
    """Say what keeps the service from starting, a line each; exit code 1 when there is anything."""
    faults = [fault for fault in dict.fromkeys(fault_of(question) for question in ready.values()) if fault]
    for fault in faults:
        click.echo(f"cannot start: {fault}", err=True)
    if faults:
        raise SystemExit(1)


def fault_of(question: Callable[[], bool]) -> str:
    """What a question of `/readyz` finds wrong, in one line; empty when all is well."""
    try:
        return "" if question() else "something is not as it should be"
    except sa.exc.SQLAlchemyError as error:
        return sql.unanswered(error)
    except Exception as error:  # whatever it is, the service cannot work
        return " ".join(str(error).split())[:300] or type(error).__name__


def _holds(question: Callable[[], bool]) -> bool:
    fault = fault_of(question)
    if fault:
        log.warning("not ready", extra={"detail": fault})
    return not fault


def cookie_settings(app: Flask, name: str, *, secure: bool) -> None:
    """Name and harden the session cookie; with TLS it has the `__Host-` prefix (RFC 6265bis section 4.1.3.2).

    The library's own age check is out of use (ten years): our clock judges the session that the cookie names.
    """
    app.config.update(
        SESSION_COOKIE_NAME=f"__Host-{name}" if secure else name,
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=10 * 365 * 86400,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,  # our pages send no Referer; SameSite and the token carry the protection
    )


def allow_form_targets(response: Response, *origins: str, scripts: bool = False) -> None:
    """Name the origins to which a form's answer may redirect; Chromium holds `form-action` against redirects too.

    Args:
        scripts: whether the page may load scripts of the service's own.
    """
    policy = _policy(" ".join(("'self'", *origins)))
    response.headers["Content-Security-Policy"] = f"{policy}; script-src 'self'" if scripts else policy


def origin_of(uri: str) -> str:
    """Scheme, host and port of a URI as a Content-Security-Policy names them; only the scheme where it cannot."""
    parts = urlsplit(uri)
    if ":" in (parts.hostname or ""):  # of an IPv6 address
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"


def wants_page() -> bool:
    """Whether the request's answer is read by a person."""
    kind = g.get("kind")
    if kind:
        return bool(kind == "page")
    # JSON first: whoever takes anything (`*/*`) is a program; browsers name text/html
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def problem_response(problem: Problem) -> Response:
    """Write an error page."""
    page = render_template("rolecall/problem.html", problem=problem, request_id=trace.current())
    response = make_response(page, problem.status)
    retry_after = problem.retry_after or (2 if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else None)
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _policy(form_action: str) -> str:
    return (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {form_action}"
    )


_HEADERS: Final = {
    "Content-Security-Policy": _policy("'self'"),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


def _begin() -> None:
    trace.begin(request.headers.get("traceparent"))
    g.started = clock.monotonic()
    g.kind = request.endpoint and _kinds().get(request.endpoint)
    if "Transfer-Encoding" in request.headers:
        # a body whose length is not said in advance would be cut at our limit instead of refused (RFC 9110 15.5.12)
        abort(411)
    # here and for all, also where no view would read the body (RFC 9110 section 15.5.14)
    if (request.content_length or 0) > MAX_REQUEST_BODY:
        abort(413)


def _finish(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = trace.current() or "-"
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint not in {"healthz", "readyz", "static", "rolecall.static"}:
        seconds = clock.monotonic() - g.get("started", clock.monotonic())
        service, route = current_app.extensions["rolecall_settings"].SERVICE, request.endpoint or "none"
        method = request.method if request.method in _methods() else "other"
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


def _kinds() -> dict[str, Kind]:
    kinds: dict[str, Kind] = current_app.extensions["rolecall_kinds"]
    return kinds


def _oauth_error(error: OAuthError) -> Response:
    log.log(
        logging.ERROR if error.status >= 500 else logging.INFO,
        "refused",
        extra={
            "error": error.error,
            "detail": error.detail,
            "client_id": g.get("client_id"),
            "flow_id": g.get("flow_id"),
        },
    )
    metrics.REFUSALS.labels(current_app.extensions["rolecall_settings"].SERVICE, error.error).inc()
    if wants_page():
        return problem_response(_problem_of(error))
    return json_response(error)


def _problem_of(error: OAuthError) -> Problem:
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return Problem(503, "One moment, please", error.description, (("Try again", here()),))
    return Problem(error.status, "This request cannot be answered", error.description)


def here() -> str:
    """The page to try again: this one when it can be asked for, which changes nothing, else the first page."""
    return request.full_path.rstrip("?") if "GET" in _methods() else "/"


def _page_error(error: PageError) -> Response:
    return problem_response(error.problem)


def _csrf_error(error: CSRFError) -> Response:
    audit.record("form_refused", reason=str(error.description))
    return problem_response(
        Problem(
            400,
            "This page was too old to be used",
            "It was opened before your session changed, in this tab or another one, or your browser refuses cookies. "
            "Nothing has been changed. Open the page again and repeat what you did.",
            (("Open the page again", here()),),
        )
    )


def _methods() -> set[str]:
    return (request.url_rule.methods if request.url_rule else None) or set()


_EXPLANATIONS: Final = {
    400: ("This request cannot be read", "Something in it is not as it should be. Nothing has been changed."),
    404: ("There is no such page", "The address is wrong, or what it showed is gone."),
    405: ("This address is used in another way", "It does not answer to this kind of request. Nothing was changed."),
    411: ("The length is missing", "Send the body with Content-Length, not in chunks."),
    413: ("That was too much", "The request is larger than anything this service needs. Nothing of it was used."),
}


def _http_error(error: HTTPException) -> ResponseReturnValue:
    status = error.code or 500
    if error.response is not None or status < 400:
        return error.get_response()
    title, explanation = _EXPLANATIONS.get(status, (error.name, "The request cannot be answered as it is."))
    if wants_page():
        response = problem_response(Problem(status, title, explanation, (("Back to the first page", "/"),)))
    else:
        response = json_response(OAuthError("invalid_request", f"{title}. {explanation}", status=status))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _store_error(error: Exception) -> ResponseReturnValue:
    return _oauth_error(store_away(error))


def store_away(error: Exception) -> OAuthError:
    """What to answer when Redis or the database fails; the log gets one line that says which, and why."""
    if isinstance(error, sa.exc.SQLAlchemyError):
        fault = sql.unanswered(error)
    else:
        fault = f"Redis does not answer: {' '.join(str(error).split())[:300]}"
    log.error("store does not answer", extra={"detail": fault})
    return unavailable(type(error).__name__)


def _unexpected(error: Exception) -> ResponseReturnValue:
    log.exception("unexpected", exc_info=error)
    text = f"Something went wrong on our side. The request is noted under {trace.current()}."
    if wants_page():
        return problem_response(
            Problem(500, "Something went wrong on our side", text, (("Back to the first page", "/"),))
        )
    return json_response(OAuthError("server_error", text, status=500))

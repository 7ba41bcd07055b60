"""Error pages, and the error handlers of every service."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import singledispatch
from http import HTTPStatus
from typing import Final

import redis
from flask import Flask, Response, current_app, g, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from rolecall import audit, metrics, trace
from rolecall.errors import OAuthError, description_of, json_response, unavailable
from rolecall.web.routes import allowed_methods, is_foreign_form

log = logging.getLogger("rolecall.access")


@dataclass(frozen=True, slots=True)
class Problem:
    """The content of an error page: what happened, and what to do next.

    Args:
        links: (label, URL) pairs; a URL that starts with a slash is relative to the path of the service.
        retry_after: seconds for the `Retry-After` header.
    """

    status: int
    title: str
    explanation: str
    links: tuple[tuple[str, str], ...] = ()
    is_error: bool = True
    retry_after: int | None = None


class PageError(Exception):
    """Abort the request of a page and respond with an error page."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem


def register_error_handlers(app: Flask) -> None:
    """Register the error handlers that every service has; `rolecall.sql` has those for databases."""
    app.register_error_handler(OAuthError, _oauth_error)
    app.register_error_handler(PageError, _page_error)
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(redis.RedisError, store_error)
    app.register_error_handler(Exception, _unexpected)


def reject_foreign_form() -> None:
    """Reject a form that a page of another site sent, even if it has a valid CSRF token.

    Raises:
        PageError: the request is such a form.
    """
    if is_foreign_form():
        audit.record("form_refused", reason="A page of another site sent the form.")
        explanation = "Only the pages of this service can send it. No changes were made. Open the page and try again."
        links = (("Open the page", retry_url()),)
        raise PageError(Problem(403, "This form was sent from another site", explanation, links))


def wants_page() -> bool:
    """Whether the client expects HTML rather than JSON: decided by the route's kind, else by the Accept header."""
    kind = g.get("kind")
    if kind:
        return bool(kind == "page")
    # JSON first: browsers name text/html, and a client that accepts anything (`*/*`) is a program
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def problem_response(problem: Problem) -> Response:
    """Render an error page."""
    page = render_template("rolecall/problem.html", problem=problem, request_id=trace.current())
    response = make_response(page, problem.status)
    retry_after = problem.retry_after or (2 if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else None)
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def retry_url() -> str:
    """Return the URL for a "Try again" link: the current one if it supports GET, otherwise the start page."""
    return request.full_path.rstrip("?") if "GET" in allowed_methods() else "/"


def store_error(error: Exception) -> ResponseReturnValue:
    """Handle an exception of Redis or the database."""
    return _oauth_error(store_unavailable(error))


def store_unavailable(error: Exception) -> OAuthError:
    """Return the error for a failure of Redis or the database, and log which of them failed and why."""
    log.error("store unavailable", extra={"detail": failure_reason(error)})
    return unavailable(type(error).__name__)


@singledispatch
def failure_reason(error: Exception) -> str:
    """Describe an exception in one line.

    `rolecall.sql` registers the description of database errors here, so that a service without a database does not
    import SQLAlchemy.
    """
    return " ".join(str(error).split())[:300] or type(error).__name__


@failure_reason.register
def _redis_failure(error: redis.RedisError) -> str:
    return f"Redis does not respond: {' '.join(str(error).split())[:300]}"


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
    description = description_of(error)
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return Problem(503, "One moment, please", description, (("Try again", retry_url()),))
    return Problem(error.status, "This request cannot be processed", description)


def _page_error(error: PageError) -> Response:
    return problem_response(error.problem)


def _csrf_error(error: CSRFError) -> Response:
    audit.record("form_refused", reason=str(error.description))
    return problem_response(
        Problem(
            400,
            "This page has expired",
            "Your session has changed since you opened it, in this tab or another one, or your browser blocks cookies. "
            "No changes were made. Open the page again and repeat your last step.",
            (("Open the page again", retry_url()),),
        )
    )


_EXPLANATIONS: Final = {
    400: ("Invalid request", "The server cannot read this request. No changes were made."),
    404: ("Page not found", "The address is wrong, or the page no longer exists."),
    405: ("Method not allowed", "This address does not support the method of the request. No changes were made."),
    413: ("Request too large", "The request is larger than this service accepts. No changes were made."),
    501: ("Not implemented", "Of the transfer codings, this service supports only chunked. No changes were made."),
}


def _http_error(error: HTTPException) -> ResponseReturnValue:
    status = error.code or 500
    if error.response is not None or status < 400:
        return error.get_response()
    title, explanation = _EXPLANATIONS.get(status, (error.name, "This request cannot be processed."))
    if wants_page():
        response = problem_response(Problem(status, title, explanation, (("Back to the home page", "/"),)))
    else:
        response = json_response(OAuthError("invalid_request", f"{title}. {explanation}", status=status))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _unexpected(error: Exception) -> ResponseReturnValue:
    log.exception("unexpected error", exc_info=error)
    text = f"An unexpected error occurred. Its details are in the log, under the request ID {trace.current()}."
    if wants_page():
        return problem_response(Problem(500, "Something went wrong", text, (("Back to the home page", "/"),)))
    return json_response(OAuthError("server_error", text, status=500))

"""Error pages: how each error that ends a flow is explained to the user."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Final

from flask import request
from flask.typing import ResponseReturnValue

from rolecall import audit
from rolecall.errors import OAuthError
from rolecall.http import Unreachable
from rolecall.web.errors import PageError, Problem
from rolecall_client.flow import FlowError
from rolecall_client.services import services

log = logging.getLogger(__name__)

_START_AGAIN: Final = ("Start again", "/")
_HOME: Final = ("Back to the home page", "/")
_SUSPICIOUS: Final = frozenset(
    {"unknown_state", "repeated_parameter", "too_long", "mixed_up", "bad_id_token", "another_subject"}
)
"""Errors that can be a sign of an attack; they are written to the audit log."""

_PROBLEMS: Final = {
    "access_denied": Problem(
        403,
        "You denied access",
        "You denied Tally access to your invoices, so it did not get a token.",
        (_HOME,),
        is_error=False,
    ),
    "unknown_state": Problem(
        400,
        "This response does not match a request from this browser",
        "It has already been used, it took too long, your session has ended, or someone sent you a link with a "
        "response that is not yours. Tally has ignored it.",
        (_START_AGAIN,),
    ),
    "repeated_parameter": Problem(
        400,
        "This response is ambiguous",
        "One of its parameters is repeated (RFC 6749 section 3.1). Tally has ignored the response.",
        (_START_AGAIN,),
    ),
    "too_long": Problem(
        400,
        "This response is too long",
        "Tally accepts a code of ordinary length. Tally has ignored the response.",
        (_START_AGAIN,),
    ),
    "mixed_up": Problem(
        400,
        "This response comes from another server",
        "It names another authorization server, or belongs to another request (RFC 9207). Tally has ignored it, so "
        "that your code cannot reach the wrong server.",
        (_START_AGAIN,),
    ),
    "invalid_grant": Problem(
        400,
        "The authorization code is no longer valid",
        "A code works once, within a minute. This one is too old, has already been used, or was revoked because you "
        "disconnected Tally. Tally did not get a token.",
        (_START_AGAIN,),
    ),
    "refused_refresh": Problem(
        400,
        "The refresh token is no longer valid",
        "You disconnected Tally, the token expired, or an old refresh token was used again, which revokes all tokens "
        "of the connection (RFC 9700 section 4.14). Tally has deleted its tokens. Connect again to continue.",
        (_START_AGAIN,),
    ),
    "login_required": Problem(
        403,
        "You need to sign in to the authorization server",
        "Tally asked for a silent sign-in (prompt=none), but you are not signed in to the authorization server, or "
        "not recently enough. Your sign-in to Tally has not changed.",
        (_START_AGAIN,),
        is_error=False,
    ),
    "consent_required": Problem(
        403,
        "Your consent is required",
        "Tally asked for a silent sign-in (prompt=none), but the authorization server needs your consent first. Your "
        "sign-in to Tally has not changed.",
        (_START_AGAIN,),
        is_error=False,
    ),
    "another_subject": Problem(
        502,
        "The responses are about different users",
        "The ID token and the userinfo response have different subjects (OpenID Connect Core section 5.3.2), so the "
        "access token may have been substituted. Tally has rejected both, and your sign-in to Tally has not changed.",
        (_START_AGAIN,),
    ),
    "temporarily_unavailable": Problem(
        503,
        "The authorization server is temporarily unavailable",
        "No data are lost. Wait a few seconds, and start again.",
        (_START_AGAIN,),
    ),
}


def with_error_pages(view: Callable[[], ResponseReturnValue]) -> Callable[[], ResponseReturnValue]:
    """Show an error page for the exceptions of flows: FlowError, Unreachable, and OAuthError."""

    @wraps(view)
    def wrapped() -> ResponseReturnValue:
        try:
            return view()
        except FlowError as error:
            log.info("flow ended", extra={"error": error.error, "detail": error.detail})
            if error.error in _SUSPICIOUS:
                audit.record("answer_refused", error=error.error)
            raise PageError(_problem(error)) from error
        except Unreachable as error:
            log.warning("unreachable", extra={"detail": str(error)})
            raise PageError(_unreachable(error)) from error
        except OAuthError as error:
            title = "This is not the expected authorization server"
            raise PageError(Problem(502, title, error.description, (_START_AGAIN,))) from error

    return wrapped


def _problem(error: FlowError) -> Problem:
    if error.error == "bad_id_token":
        return Problem(
            502,
            "Tally rejected the ID token",
            f"{error.detail} An ID token is valid only if it complies with every rule of OpenID Connect Core section "
            "3.1.3.7. Tally has ignored the token, and your sign-in to Tally has not changed.",
            (_START_AGAIN,),
        )
    problem = _PROBLEMS.get(error.error) or _unexpected_error(error.error)
    if error.error == "unknown_state" and services().sessions.tokens() is not None:
        # most likely the callback of this connection, reloaded
        return replace(problem, links=(("Your invoices", "/invoices"), _START_AGAIN))
    return problem


def _unexpected_error(code: str) -> Problem:
    is_valid = code.isascii() and code.replace("_", "").isalnum() and len(code) < 60
    return Problem(
        502,
        "The authorization server returned an error",
        f"The error code is {code if is_valid else 'invalid'}. Tally did not get a token. Try again. If the error "
        "persists, the operator of Tally has to check its registration.",
        (_START_AGAIN,),
    )


def _unreachable(error: Unreachable) -> Problem:
    api = services().settings.resource_backchannel_url or services().settings.resource_url
    server = "The Invoices API" if error.url.startswith(api) else "The authorization server"
    return Problem(
        503,
        f"{server} is not responding",
        f"Tally did not get a usable response: {error.reason}. No data are lost. Start the service again, or wait "
        "until it is available, and try again.",
        (("Try again", _retry_url()), _HOME),
    )


def _retry_url() -> str:
    return request.full_path.rstrip("?") if request.method == "GET" and request.path != "/callback" else "/"

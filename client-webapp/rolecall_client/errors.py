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
from rolecall.http import InvalidResponse, Unreachable
from rolecall.web.errors import PageError, Problem
from rolecall_client.flow import FlowError
from rolecall_client.services import services

log = logging.getLogger(__name__)

_START_AGAIN: Final = ("Start again", "/")
_HOME: Final = ("Back to the home page", "/")
_SUSPICIOUS: Final = frozenset(
    {"unknown_state", "repeated_parameter", "mixed_up", "bad_id_token", "bad_refreshed_id_token", "another_subject"}
)
"""Errors that can be a sign of an attack; they are written to the audit log."""


def _silent(reason: str, title: str = "You need to visit the authorization server") -> Problem:
    """Return the problem for a silent request that needed a page (OpenID Connect Core section 3.1.2.6)."""
    return Problem(
        403,
        title,
        f"Tally asked for a silent sign-in (prompt=none), {reason} Your sign-in to Tally has not changed.",
        (_START_AGAIN,),
        is_error=False,
    )


_PROBLEMS: Final = {
    "unknown_state": Problem(
        400,
        "This response does not match a request from this browser",
        "Either it was already used or came too late, your session has ended, or someone sent you a link with a "
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
        "It names another authorization server (RFC 9207). Tally has ignored it, so that your code cannot reach the "
        "wrong server.",
        (_START_AGAIN,),
    ),
    "missing_iss": Problem(
        400,
        "The response does not name its server",
        "The authorization server announces the parameter iss for every response (RFC 9207 section 3), but this "
        "response has none. Tally has ignored it.",
        (_START_AGAIN,),
    ),
    "invalid_response": Problem(
        502,
        "The response is incomplete",
        "It has neither a code nor an error (RFC 6749 section 4.1.2). Tally did not get a token.",
        (_START_AGAIN,),
    ),
    "invalid_grant": Problem(
        400,
        "The authorization code is no longer valid",
        "A code works only once, within a minute. This one is probably too old, was already used, or was revoked "
        "because you disconnected Tally. Tally did not get a token.",
        (_START_AGAIN,),
    ),
    "refused_refresh": Problem(
        400,
        "The refresh token is no longer valid",
        "Either you disconnected Tally, the token expired, or an old refresh token was used again, which revokes all "
        "tokens of the connection (RFC 9700 section 4.14). Tally has deleted its tokens. Connect again to continue.",
        (_START_AGAIN,),
    ),
    "login_required": _silent(
        "but you are not signed in to the authorization server, or not recently enough.",
        "You need to sign in to the authorization server",
    ),
    "consent_required": _silent("but the authorization server needs your consent first.", "Your consent is required"),
    "interaction_required": _silent("but the authorization server needs you to do something on its pages first."),
    "account_selection_required": _silent("but you have to choose an account at the authorization server first."),
    "another_person": Problem(
        403,
        "Another user signed in",
        "Tally asked the user who is signed in to sign in again, but the ID token is about another user. Tally has "
        "ignored it, and your sign-in to Tally has not changed. To change the user, sign out first.",
        (("Back to your profile", "/me"),),
        is_error=False,
    ),
    "no_revocation": Problem(
        501,
        "The authorization server cannot revoke tokens",
        "Its metadata has no revocation endpoint, which is optional (RFC 8414 section 2). The token stays valid until "
        "it expires. You can disconnect Tally, which deletes its tokens.",
        (("Back to the invoices", "/invoices"),),
        is_error=False,
    ),
    "unsupported_token_type": Problem(
        501,
        "The authorization server does not revoke access tokens",
        "It cannot revoke tokens of this type (RFC 7009 section 2.2.1). The token stays valid until it expires. You "
        "can disconnect Tally, which deletes its tokens.",
        (("Back to the invoices", "/invoices"),),
        is_error=False,
    ),
    "no_refresh_token": Problem(
        400,
        "Tally has no refresh token",
        "The authorization server did not issue one, which is optional (RFC 6749 section 5.1). When the access token "
        "expires, connect again.",
        (("Back to the invoices", "/invoices"),),
        is_error=False,
    ),
    "earlier_registration": Problem(
        400,
        "Tally has registered itself again",
        "Codes and tokens belong to the registration with which Tally requested them (RFC 7591). The authorization "
        "server no longer knew that one, or Tally's settings have changed, so Tally cannot use them any more. "
        "Disconnect, if you are connected, and connect again.",
        (("Your invoices", "/invoices"), _START_AGAIN),
    ),
    "no_registration_endpoint": Problem(
        502,
        "The authorization server does not offer client registration",
        "Its metadata has no registration endpoint, which is optional (RFC 7591 section 3). The operator of Tally has "
        "to register Tally there and set its client ID.",
        (_HOME,),
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
        "No data was lost. Wait a few seconds, and start again.",
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
    known = _PROBLEMS.get(error.error) or _detailed(error)
    if error.error == "unknown_state" and services().sessions.tokens() is not None:
        # most likely the callback of this connection, reloaded
        return replace(_PROBLEMS[error.error], links=(("Your invoices", "/invoices"), _START_AGAIN))
    return known or Problem(
        502,
        "The authorization server returned an error",
        f"The error code is {_readable(error.error)}. Tally did not get a token. Try again. If the error persists, the "
        "operator of Tally has to check its registration.",
        (_START_AGAIN,),
    )


def _detailed(error: FlowError) -> Problem | None:
    """Return the problem for an error whose detail is part of the explanation."""
    if error.error == "access_denied":
        text = f"You did not allow what Tally requested: {error.detail}. Tally did not get a token."
        return Problem(403, "You denied access", text, (_HOME,), is_error=False)
    title, text = _INVALID.get(error.error, ("", ""))
    return Problem(502, title, f"{error.detail} {text}", (_START_AGAIN,)) if title else None


_INVALID: Final = {
    "bad_id_token": (
        "Tally rejected the ID token",
        "An ID token is valid only if it complies with every rule of OpenID Connect Core section 3.1.3.7. Tally has "
        "ignored the token, and your sign-in to Tally has not changed.",
    ),
    "bad_refreshed_id_token": (
        "Tally rejected the refreshed ID token",
        "A refreshed ID token must be about the same sign-in (OpenID Connect Core section 12.2). Tally has deleted its "
        "tokens. Connect again to continue.",
    ),
    "registration_rejected": (
        "The authorization server rejected the registration",
        "The registration does not meet the requirements of Tally (RFC 7591 section 3.2). The operator of Tally can "
        "set a client ID or an initial access token.",
    ),
    "invalid_token_response": (
        "The token response is invalid",
        "Its members are specified in RFC 6749 section 5.1. Tally did not get a token.",
    ),
    "invalid_userinfo": (
        "The userinfo response is invalid",
        "Its members are specified in OpenID Connect Core section 5.3.2. Your sign-in to Tally has not changed.",
    ),
    "no_error_code": ("The authorization server failed", "Tally did not get a token. Try again later."),
}
"""The titles of errors whose detail describes the response, and the further text of their pages."""


def _readable(code: str) -> str:
    is_valid = code.isascii() and code.replace("_", "").isalnum() and len(code) < 60
    return code if is_valid else "invalid"


def _unreachable(error: Unreachable) -> Problem:
    api = services().settings.resource_backchannel_url or services().settings.resource_url
    server = "The Invoices API" if error.url.startswith(api) else "The authorization server"
    links = (("Try again", _retry_url()), _HOME)
    if isinstance(error, InvalidResponse):
        text = (
            f"Tally cannot use the response: {error.reason}. The operator of Tally has to check the server's address."
        )
        return Problem(502, f"{server} sent an invalid response", text, links)
    return Problem(
        503,
        f"{server} is not responding",
        f"Tally did not get a response: {error.reason}. No data was lost. Try again in a moment. If you run the lab, "
        "check that the service is running.",
        links,
    )


def _retry_url() -> str:
    return request.full_path.rstrip("?") if request.method == "GET" and request.path != "/callback" else "/"

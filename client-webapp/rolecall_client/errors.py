"""Every way in which a flow can end early, as a page that says what happened and what to do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Final

from flask import request
from flask.typing import ResponseReturnValue

from rolecall import audit
from rolecall.errors import OAuthError
from rolecall.http import Unreachable
from rolecall.web.errors import PageError, Problem
from rolecall_client.flow import Refused
from rolecall_client.services import services

log = logging.getLogger(__name__)

_AGAIN: Final = ("Start again", "/")
_FORGED: Final = frozenset({"unknown_state", "repeated_parameter", "mixed_up", "bad_id_token", "another_subject"})
_REFUSALS: Final = {
    "access_denied": Problem(
        403,
        "You did not allow it",
        "You denied Tally access to your invoices, so it has been given nothing. That is fine; nothing has changed.",
        (("Back to the first page", "/"),),
        is_error=False,
    ),
    "unknown_state": Problem(
        400,
        "This answer belongs to no request of this browser",
        "It was used already, it took too long, your session was lost, or somebody sent you a link with an answer that "
        "is not yours. Tally has used nothing of it.",
        (_AGAIN,),
    ),
    "repeated_parameter": Problem(
        400,
        "This answer can be read in two ways",
        "One of its parameters comes twice (RFC 6749 section 3.1). Tally believes neither and has used nothing of it.",
        (_AGAIN,),
    ),
    "mixed_up": Problem(
        400,
        "This answer does not come from where the request went",
        "The answer names another authorization server or another request (RFC 9207). Tally has stopped here, so "
        "that your code cannot reach the wrong server.",
        (_AGAIN,),
    ),
    "invalid_grant": Problem(
        400,
        "This code is no longer good",
        "A code works once, and within a minute. This one came too late, or was used already, or you "
        "disconnected Tally. Tally has been given nothing for it.",
        (_AGAIN,),
    ),
    "refused_refresh": Problem(
        400,
        "The refresh token is no longer good",
        "You disconnected Tally, or its time is over, or somebody used an old one again, which ends all that was "
        "given (RFC 9700 section 4.14). Tally holds nothing of yours any more. Connect again to go on.",
        (_AGAIN,),
    ),
    "login_required": Problem(
        403,
        "You would have to sign in there first",
        "Tally asked silently (prompt=none): the authorization server was to answer without showing you a page. It "
        "could not, because you are not signed in there, or not recently enough. What Tally knew before is as it was.",
        (_AGAIN,),
        is_error=False,
    ),
    "consent_required": Problem(
        403,
        "You have not allowed this yet",
        "Tally asked silently (prompt=none), and the authorization server would have had to ask you first whether "
        "Tally may know who you are. What Tally knew before is as it was.",
        (_AGAIN,),
        is_error=False,
    ),
    "another_subject": Problem(
        502,
        "Two answers, about two people",
        "The ID token names one person, and userinfo is about another (OpenID Connect Core section 5.3.2). Tally "
        "believes neither: somebody may have exchanged the access token. Nobody was signed in.",
        (_AGAIN,),
    ),
    "temporarily_unavailable": Problem(
        503,
        "The authorization server cannot answer now",
        "Something that it needs is away for the moment. Nothing is lost. Wait a few seconds and start again.",
        (_AGAIN,),
    ),
}


def explained(view: Callable[[], ResponseReturnValue]) -> Callable[[], ResponseReturnValue]:
    """Every way in which a flow can end early ends on a page that says what happened and what to do."""

    @wraps(view)
    def inner() -> ResponseReturnValue:
        try:
            return view()
        except Refused as error:
            log.info("flow ended", extra={"error": error.error, "detail": error.detail})
            if error.error in _FORGED:
                audit.record("answer_refused", error=error.error)
            raise PageError(_REFUSALS.get(error.error) or _of_id_token(error) or _other_refusal(error)) from error
        except Unreachable as error:
            log.warning("unreachable", extra={"detail": str(error)})
            raise PageError(_unreachable(error)) from error
        except OAuthError as error:
            raise PageError(
                Problem(502, "The authorization server is not the expected one", error.description, (_AGAIN,))
            ) from error

    return inner


def _of_id_token(error: Refused) -> Problem | None:
    if error.error != "bad_id_token":
        return None
    return Problem(
        502,
        "Tally does not believe this ID token",
        f"{error.detail} An ID token is believed only when every rule of OpenID Connect Core section 3.1.3.7 holds, "
        "so nobody was signed in, and nothing of it is kept.",
        (_AGAIN,),
    )


def _other_refusal(error: Refused) -> Problem:
    known = error.error.isascii() and error.error.replace("_", "").isalnum() and len(error.error) < 60
    return Problem(
        502,
        "The authorization server refused",
        f"It answered {error.error if known else 'something unknown'}. Nothing of yours was given to Tally. "
        "Try again; if that does not help, whoever runs Tally has to look at how it is registered.",
        (_AGAIN,),
    )


def _unreachable(error: Unreachable) -> Problem:
    resource = services().settings.resource_backchannel_url or services().settings.resource_url
    who = "The Invoices API" if error.url.startswith(resource) else "The authorization server"
    return Problem(
        503,
        f"{who} does not answer",
        f"Tally asked and got no answer: {error.reason}. Nothing is lost. Start that service again, or wait until "
        "it is back, and repeat what you did.",
        (("Try again", _here()), ("Back to the first page", "/")),
    )


def _here() -> str:
    return request.full_path.rstrip("?") if request.method == "GET" and request.path != "/callback" else "/"

"""Access control by bearer token (RFC 6750): credentials, validation, scope, and the challenge in error responses."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Final, cast
from urllib.parse import urlsplit

from flask import Response, current_app, g, request
from flask.typing import ResponseReturnValue

from rolecall import audit, authorization_header, checks
from rolecall.errors import NO_STORE, OAuthError, challenge
from rolecall.vocabulary import RESOURCE_METADATA_PATH
from rolecall.web.errors import Problem, problem_response
from rolecall_resource.settings import Settings
from rolecall_resource.validators import MAX_LENGTH, Validator

REALM: Final = "Invoices API"

_B64TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")

ONE_HEADER = checks.define(
    "bearer.one_header",
    "RFC 6750 section 3.1",
    "invalid_request",
    "There are several Authorization headers.",
)
PRESENT = checks.define(
    "bearer.present",
    "RFC 6750 section 3.1",
    "invalid_request",
    "The bearer token is missing.",
    status=401,
)
WELL_FORMED = checks.define(
    "bearer.form", "RFC 6750 section 2.1", "invalid_request", "The bearer token is malformed or too long."
)
SCOPE = checks.define(
    "token.scope",
    "RFC 6750 section 3.1",
    "insufficient_scope",
    "The token lacks the required scope.",
    status=403,
)

PERSON = checks.define(
    "token.person",
    "RFC 9700 section 4.15",
    "insufficient_scope",
    "The token is not about a user. This endpoint returns a user's data, and the user must allow it.",
    status=403,
)

_CHALLENGED: Final = (400, 401, 403)
"""The statuses of error responses with a challenge (RFC 6750 section 3.1)."""

_TOKEN_NEEDED: Final = Problem(
    401,
    "An access token is needed",
    "This address belongs to an API for programs. A request to it needs an access token in the header "
    "“Authorization: Bearer”, which the authorization server issues to a client when the owner allows it.",
    (("How to get a token", "/"),),
)

View = Callable[..., ResponseReturnValue]


def requires(scope: str) -> Callable[[View], View]:
    """Require a valid access token of a person with `scope`; the view gets the `AccessToken` as its first argument."""

    def decorate(view: View) -> View:
        @wraps(view)
        def protected(**arguments: str) -> ResponseReturnValue:
            try:
                token = _bearer_token()
                if token is None:
                    return _challenge_without_error()
                validator = cast("Validator", current_app.extensions["resource_validator"])
                access_token = validator.validate(token)
                g.client_id = access_token.client_id
                g.flow_id = access_token.authorization_id or None
                SCOPE(scope in access_token.scope, expected=scope, actual=" ".join(sorted(access_token.scope)))
                is_person = access_token.has_person
                PERSON(is_person, expected="a person", actual="a person" if is_person else "the client itself")
                return view(access_token, **arguments)
            except OAuthError as error:
                error.challenge = _challenge(error, scope)
                if error.challenge is not None:
                    audit.record("access_token_refused", error=error.error, client_id=g.get("client_id"))
                raise

        protected.scope = scope  # type: ignore[attr-defined]  # for the home page and OpenAPI
        return protected

    return decorate


def metadata_url(settings: Settings) -> str:
    """Return the public URL of this resource's metadata (RFC 9728 section 3.1)."""
    return f"{settings.public_url}{RESOURCE_METADATA_PATH}{urlsplit(settings.resource_identifier).path}"


def _bearer_token() -> str | None:
    headers = authorization_header.parse_all(request.headers)
    ONE_HEADER(len(headers) <= 1, expected="one", actual=len(headers))
    token = headers[0].bearer_token if headers else None
    is_present = token is not None
    PRESENT.note(is_present, expected="a bearer token in the header", actual="present" if is_present else "missing")
    if token is None:
        return None
    is_well_formed = len(token) <= MAX_LENGTH and _B64TOKEN.fullmatch(token) is not None
    WELL_FORMED(is_well_formed, expected=f"1 to {MAX_LENGTH} characters of b64token", actual=f"{len(token)} characters")
    return token


def _settings() -> Settings:
    return cast("Settings", current_app.extensions["rolecall_resource"])


def _challenge_without_error() -> Response:
    """Return the response to a request without credentials: no error code (RFC 6750 section 3.1).

    Its body is a page for browsers, and an empty object for other clients.
    """
    value = challenge("Bearer", realm=REALM, resource_metadata=metadata_url(_settings()))
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        response = problem_response(_TOKEN_NEEDED)
    else:
        response = Response("{}", status=401, mimetype="application/json")
    response.headers.update({"WWW-Authenticate": value, "Vary": "Accept", **NO_STORE})
    return response


def _challenge(error: OAuthError, scope: str) -> str | None:
    if error.status not in _CHALLENGED:
        return None
    parameters = {"realm": REALM, "error": error.error, "error_description": error.description}
    if error.error == "insufficient_scope":
        parameters["scope"] = scope
    return challenge("Bearer", **parameters, resource_metadata=metadata_url(_settings()))

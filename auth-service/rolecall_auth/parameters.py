"""The request parameters: one table with the grammar, length, and endpoints of each (RFC 6749 appendix A)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from werkzeug.datastructures import MultiDict

from rolecall import checks
from rolecall.checks import Check

REQUIRED = checks.define(
    "token.parameters", "RFC 6749 section 5.2", "invalid_request", "A required parameter is missing."
)

_VSCHAR: Final = re.compile(r"[\x20-\x7e]+")
_NQCHAR: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[!#$%&'()*+,/0-9:;=?@A-Z\[\]_a-z~.\-]+")
_ABSOLUTE_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[!$%&'()*+,/0-9:;=?@A-Z\[\]_a-z~.\-]+")
_UNRESERVED_43: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}")
_WORD: Final = re.compile(r"[A-Za-z0-9_\-.]+")
_WORDS: Final = re.compile(r"[A-Za-z0-9_\-.]+( [A-Za-z0-9_\-.]+)*")
_SECONDS: Final = re.compile(r"[0-9]+")
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_GRANT_TYPE: Final = re.compile(r"[A-Za-z0-9_\-.:/]+")
_JWT: Final = re.compile(r"[A-Za-z0-9_\-.]+")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_\-]+")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A request parameter that this server understands. Unknown ones are ignored (RFC 6749 sections 3.1, 3.2).

    Args:
        name: the name in the specification.
        grammar: a pattern that the whole value must match.
        max_length: in characters.
        endpoints: the names of the routes that accept it.
        clause: the section that defines it.
        error: the error code for a malformed value.
        unknown_at: the routes at which a malformed value is read as `UNREADABLE`, and so is rejected like any other
            unknown value, with the error of the specification and after the client has been authenticated.
        is_hint: whether a malformed value is ignored.
    """

    name: str
    grammar: re.Pattern[str]
    max_length: int
    endpoints: frozenset[str]
    clause: str
    error: str = "invalid_request"
    unknown_at: frozenset[str] = frozenset()
    is_hint: bool = False

    @property
    def rejected_at(self) -> frozenset[str]:
        """The routes at which a malformed value is rejected as such."""
        return frozenset() if self.is_hint else self.endpoints - self.unknown_at

    @property
    def once(self) -> Check:
        """The check that the parameter occurs at most once."""
        return checks.registry[f"parameter.{self.name}.once"]

    @property
    def well_formed(self) -> Check:
        """The check of the parameter's grammar and length; only if there are `rejected_at`."""
        return checks.registry[f"parameter.{self.name}.form"]


def _define(
    name: str,
    grammar: re.Pattern[str],
    max_length: int,
    endpoints: str,
    clause: str,
    error: str = "invalid_request",
    *,
    unknown_at: str = "",
    is_hint: bool = False,
) -> Parameter:
    # RFC 8707 section 2 allows several resources, of which this server supports one
    repeated = error if error == "invalid_target" else "invalid_request"
    checks.define(f"parameter.{name}.once", "RFC 6749 section 3.1", repeated, f"The parameter {name} is repeated.")
    places = (frozenset(endpoints.split()), clause, error, frozenset(unknown_at.split()))
    parameter = Parameter(name, grammar, max_length, *places, is_hint)
    if parameter.rejected_at:
        checks.define(f"parameter.{name}.form", clause, error, f"The parameter {name} is malformed or too long.")
    return parameter


GUARD = checks.define(
    "parameters", "RFC 6749 sections 3.1 and 3.2", "invalid_request", "A parameter is repeated or malformed."
)

UNREADABLE: Final = ""
"""The value that replaces a malformed one: no code, token, client ID, or secret is equal to it."""

PARAMETERS: Final = (
    _define("response_type", _WORDS, 100, "authorize", "RFC 6749 appendix A.3", "unsupported_response_type"),
    _define("client_id", _VSCHAR, 100, "authorize token revoke", "RFC 6749 appendix A.1", unknown_at="token revoke"),
    _define("redirect_uri", _URI, 2000, "authorize token", "RFC 6749 appendix A.6", unknown_at="token"),
    _define("scope", _SCOPE, 1000, "authorize token", "RFC 6749 appendix A.4", "invalid_scope"),
    _define("state", _VSCHAR, 2000, "authorize", "RFC 6749 appendix A.5"),
    _define("code_challenge", _UNRESERVED_43, 128, "authorize", "RFC 7636 section 4.2"),
    _define("code_challenge_method", _WORD, 20, "authorize", "RFC 7636 section 4.3"),
    _define("resource", _ABSOLUTE_URI, 500, "authorize token", "RFC 8707 section 2", "invalid_target"),
    _define("response_mode", _WORD, 40, "authorize", "OAuth 2.0 Multiple Response Type Encoding Practices section 2.1"),
    _define("nonce", _VSCHAR, 1000, "authorize", "OpenID Connect Core section 3.1.2.1"),
    _define("prompt", _WORDS, 100, "authorize", "OpenID Connect Core section 3.1.2.1"),
    _define("max_age", _SECONDS, 10, "authorize", "OpenID Connect Core section 3.1.2.1"),
    _define("id_token_hint", _VSCHAR, 8192, "authorize", "OpenID Connect Core section 3.1.2.1"),
    _define("login_hint", _TEXT, 320, "authorize", "OpenID Connect Core section 3.1.2.1", is_hint=True),
    _define("acr_values", _VSCHAR, 1000, "authorize", "OpenID Connect Core section 3.1.2.1"),
    # accepted but unused: the pages have one language, and adapt to any window
    _define("display", _VSCHAR, 100, "authorize", "OpenID Connect Core section 3.1.2.1", is_hint=True),
    _define("ui_locales", _VSCHAR, 1000, "authorize", "OpenID Connect Core section 3.1.2.1", is_hint=True),
    _define("claims_locales", _VSCHAR, 1000, "authorize", "OpenID Connect Core section 5.2", is_hint=True),
    _define("claims", _TEXT, 4000, "authorize", "OpenID Connect Core section 5.5"),
    _define("access_token", _VSCHAR, 16000, "userinfo", "RFC 6750 section 2.2", unknown_at="userinfo"),
    _define("request", _JWT, 8192, "authorize", "RFC 9101 section 5.1", "invalid_request_object"),
    _define("request_uri", _URI, 512, "authorize", "RFC 9101 section 5.2", "invalid_request_uri"),
    _define("interaction", _BASE64URL, 64, "authorize sign-in sign-up consent", "none: the pages of this server"),
    _define("grant_type", _GRANT_TYPE, 200, "token", "RFC 6749 appendix A.10", unknown_at="token"),
    _define("code", _VSCHAR, 200, "token", "RFC 6749 appendix A.11", unknown_at="token"),
    _define("code_verifier", _UNRESERVED_43, 128, "token", "RFC 7636 section 4.1"),
    _define("refresh_token", _VSCHAR, 500, "token", "RFC 6749 appendix A.17", unknown_at="token"),
    _define("client_secret", _VSCHAR, 500, "token revoke", "RFC 6749 appendix A.2", unknown_at="token revoke"),
    _define("client_assertion", _JWT, 8192, "token revoke", "RFC 7523 section 2.2", unknown_at="token revoke"),
    _define(
        "client_assertion_type",
        _GRANT_TYPE,
        100,
        "token revoke",
        "RFC 7523 section 2.2",
        unknown_at="token revoke",
    ),
    _define("token", _VSCHAR, 16000, "introspect revoke", "RFC 7662 section 2.1", unknown_at="introspect revoke"),
    _define("token_type_hint", _NQCHAR, 100, "introspect revoke", "RFC 7009 section 2.1", is_hint=True),
)

BY_ENDPOINT: Final = {
    endpoint: tuple(parameter for parameter in PARAMETERS if endpoint in parameter.endpoints)
    for endpoint in sorted({endpoint for parameter in PARAMETERS for endpoint in parameter.endpoints})
}

NAMES: Final = {
    endpoint: frozenset(parameter.name for parameter in accepted) for endpoint, accepted in BY_ENDPOINT.items()
}


def fault(name: str, value: str) -> str:
    """Return why no request can contain this value of a parameter, as the predicate of a sentence, or an empty string.

    Registered values must pass it: a client could not use them otherwise.
    """
    parameter = next(each for each in PARAMETERS if each.name == name)
    if not value:
        return "must not be empty"
    if len(value) > parameter.max_length:
        return f"must have at most {parameter.max_length} characters"
    is_valid = parameter.grammar.fullmatch(value) is not None
    return "" if is_valid else f"has a character that is not allowed ({parameter.clause})"


def read(endpoint: str, source: MultiDict[str, str], *, only: frozenset[str] | None = None) -> dict[str, str]:
    """Return the endpoint's parameters; an empty one counts as omitted (RFC 6749 section 3.1).

    Args:
        only: read no other parameters than these.

    Raises:
        OAuthError: a parameter is repeated, or it is malformed or too long and its row does not accept that here.
    """
    parameters, unreadable = {}, []
    for parameter in BY_ENDPOINT[endpoint]:
        if parameter.name not in source or (only is not None and parameter.name not in only):
            continue
        values = [value for value in source.getlist(parameter.name) if value]
        if not values:
            continue
        if len(values) > 1:
            parameter.once(False, expected="once", actual=f"{len(values)} times")
        value = values[0]
        if len(value) > parameter.max_length or not parameter.grammar.fullmatch(value):
            if parameter.is_hint:
                continue
            if endpoint in parameter.rejected_at:
                parameter.well_formed(False, expected=f"up to {parameter.max_length} characters", actual=len(value))
            unreadable.append(parameter.name)
            value = UNREADABLE
        parameters[parameter.name] = value
    if only is None:
        actual = f"malformed or too long: {', '.join(unreadable)}" if unreadable else ", ".join(parameters)
        GUARD.note(not unreadable, expected="each once, well-formed, and not too long", actual=actual)
    return parameters

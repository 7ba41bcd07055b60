"""The sentences in which the lab's pages describe the checks of the resource server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rolecall_client.times import moment

SENTENCES: Final[Mapping[str, tuple[str, str]]] = {
    "bearer.one_header": (
        "The request has one Authorization header.",
        "The request has more than one Authorization header.",
    ),
    "bearer.present": (
        "The Authorization header contains a bearer token.",
        "The Authorization header does not contain a bearer token.",
    ),
    "bearer.form": (
        "The token has the right syntax: {actual}.",
        "The token is malformed or too long: {actual}.",
    ),
    "bearer.validator": ("The requested validator is known.", "The requested validator is unknown."),
    "metadata.issuer": (
        "The metadata of the authorization server names the issuer that the API trusts: {actual}.",
        "The metadata names the issuer {actual}; the API trusts {expected}.",
    ),
    "token.active": (
        "The authorization server reports that the token is active.",
        "The authorization server reports that the token is not active: it is expired, revoked, or unknown.",
    ),
    "token.cache": (
        "The same process verified this signature a moment ago.",
        "This process has not verified the signature yet.",
    ),
    "token.form": ("The token is a signed JWT.", "The token is not a signed JWT."),
    "token.typ": (
        "The token has the type of an access token: {actual}.",
        "The token has the type {actual}; an access token has {expected}.",
    ),
    "token.crit": (
        "The token does not require any extension.",
        "The token requires an extension that the API does not support.",
    ),
    "token.alg": (
        "The token is signed with {actual}, which is allowed.",
        "The token is signed with {actual}; it must be signed with {expected}.",
    ),
    "token.kid": (
        "The authorization server publishes a key that fits the token.",
        "The authorization server does not publish a key that fits the token, whose key ID is {actual}.",
    ),
    "token.signature": (
        "The signature is valid: {expected}. The token has not been changed.",
        "The signature is invalid: the token was changed, or signed with another key.",
    ),
    "token.iss": (
        "The token was issued by the server that the API trusts: {actual}.",
        "The token was issued by {actual}, not by {expected}.",
    ),
    "token.aud": (
        "The token is meant for this API: {actual}.",
        "The token is meant for {actual}; this API is {expected}.",
    ),
    "token.claims": (
        "The token has all required claims.",
        "Required claims are missing or invalid: {actual}.",
    ),
    "token.exp": ("The token is valid until {actual}.", "The token expired at {actual}."),
    "token.nbf": ("The token has been valid since {actual}.", "The token is not valid before {actual}."),
    "token.iat": (
        "The token was issued at {actual}.",
        "The token claims to have been issued at {actual}, which is in the future.",
    ),
    "token.person": (
        "The token is about a user.",
        "The token is about a client. This endpoint requires a token about a user.",
    ),
    "token.scope": (
        "The token has the required scope: {expected}.",
        "The token has the scope {actual}; the request requires {expected}.",
    ),
}
"""For each check of the resource server, the sentences for a passed and a failed check."""

_TIMES: Final = ("token.exp", "token.nbf", "token.iat")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check as the page shows it."""

    passed: bool
    sentence: str
    name: str
    clause: str


def check_result(check: Mapping[str, Any], now: float) -> CheckResult:
    """Describe a check from the resource server's report. An unknown check is shown with its name.

    Args:
        now: seconds since the epoch.
    """
    name, passed, actual = str(check.get("name", "")), check.get("passed") is True, check.get("actual")
    sentence = SENTENCES.get(name, ("{name}: {actual}",) * 2)[0 if passed else 1]
    if name in _TIMES and isinstance(actual, int | float) and 0 <= actual < 1e11:
        actual = moment(actual, now)
    expected = check.get("expected")
    return CheckResult(
        passed,
        sentence.format(
            name=name,
            actual="not reported" if actual is None else actual,
            expected="not reported" if expected is None else expected,
        ),
        name,
        str(check.get("clause", "")),
    )

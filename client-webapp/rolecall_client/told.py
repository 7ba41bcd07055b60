"""What the resource server checked, told to a person: a sentence a check, and times as times (none: the lab's page)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

SENTENCES: Final[Mapping[str, tuple[str, str]]] = {
    "bearer.one_header": (
        "The request has one Authorization header.",
        "The request has more than one Authorization header.",
    ),
    "bearer.present": ("The header brings a bearer token.", "The header brings no bearer token."),
    "bearer.form": ("The token is written as one: {actual}.", "The token is malformed or too long: {actual}."),
    "bearer.validator": ("The way of checking is known.", "There is no such way of checking."),
    "metadata.issuer": (
        "The authorization server's metadata are those of the one that the API trusts: {actual}.",
        "The metadata name {actual}; the API trusts {expected}.",
    ),
    "token.active": (
        "The authorization server says that the token is active.",
        "The authorization server says that the token is not active: it is expired, revoked or unknown.",
    ),
    "token.cache": ("This signature was verified a moment ago, by the same process.", "It was not verified yet."),
    "token.form": ("It is a signed token.", "It is no signed token."),
    "token.typ": (
        "By its type it is an access token: {actual}.",
        "Its type is {actual}; an access token's is {expected}.",
    ),
    "token.crit": ("It needs no extension.", "It needs an extension that the API does not know."),
    "token.alg": (
        "It is signed with {actual}, as it must be.",
        "It says {actual}, and must be signed with {expected}.",
    ),
    "token.kid": (
        "The authorization server publishes the key that it names.",
        "It names a key that the authorization server does not publish: {actual}.",
    ),
    "token.signature": (
        "The signature is right: {expected}. Nobody has changed the token.",
        "The signature is wrong: somebody changed the token, or made it with another key.",
    ),
    "token.iss": ("It was issued by the server that the API trusts: {actual}.", "{actual} issued it, not {expected}."),
    "token.aud": ("It is meant for this API: {actual}.", "It is meant for {actual}, and this API is {expected}."),
    "token.claims": ("It says all that it has to say.", "What it has to say is missing or wrong: {actual}."),
    "token.exp": ("It is good until {actual}.", "It expired at {actual}."),
    "token.nbf": ("It is good since {actual}.", "It is not good before {actual}."),
    "token.iat": ("It was issued at {actual}.", "It says it was issued at {actual}, which is still to come."),
    "token.scope": ("It allows this: {expected}.", "It allows {actual}; this needs {expected}."),
}
"""For each check of the resource server: what it means that it passed, and that it failed."""

_TIMES: Final = ("token.exp", "token.nbf", "token.iat")


@dataclass(frozen=True, slots=True)
class Told:
    """A check as the page shows it."""

    passed: bool
    sentence: str
    name: str
    clause: str


def told(check: Mapping[str, Any], now: float) -> Told:
    """A check of the resource server's report; `now` in seconds since the epoch. One that is unknown keeps its name."""
    name, passed, actual = str(check.get("name", "")), check.get("passed") is True, check.get("actual")
    sentence = SENTENCES.get(name, ("{name}: {actual}",) * 2)[0 if passed else 1]
    if name == "token.alg" and passed and actual == check.get("expected"):  # checked once more when the key is known
        sentence = "The key that it names is one for {actual}."
    if name in _TIMES and isinstance(actual, int | float) and 0 <= actual < 1e11:
        actual = moment(actual, now)
    shown, expected = ("not told" if value is None else value for value in (actual, check.get("expected")))
    return Told(
        passed,
        sentence.format(name=name, actual=shown, expected=expected),
        name,
        str(check.get("clause", "")),
    )


def moment(seconds: float, now: float) -> str:
    """A time (seconds since the epoch) as the clock shows it, in UTC, and how far it is from `now`."""
    try:
        at, today = datetime.fromtimestamp(seconds, UTC), datetime.fromtimestamp(now, UTC).date()
    except (ValueError, OverflowError):  # another party may say anything
        return "at a time that no calendar has"
    clock_time = at.strftime("%H:%M:%S UTC")
    return f"{clock_time if at.date() == today else at.strftime('%-d %b %Y, ') + clock_time}, {distance(seconds - now)}"


def distance(seconds: float) -> str:
    """How far away a time is: `in 4 min 59 s`, `12 s ago`, `now`."""
    whole = round(abs(seconds))
    if not whole:
        return "now"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    text = (
        f"{days} day{'' if days == 1 else 's'}"
        if days
        else f"{hours} h {minutes % 60} min"
        if hours
        else f"{minutes} min {whole % 60} s"
        if minutes
        else f"{whole} s"
    )
    text = text.replace(" ", "\u00a0")  # stays on one line
    return f"in\u00a0{text}" if seconds > 0 else f"{text}\u00a0ago"

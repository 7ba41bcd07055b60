"""What of a message may be recorded: passwords, client secrets and cookies never, codes and tokens as a mark.

A mark is the value, its beginning, and its keyed hash by which one follows it. `masked` takes the values out again:
what is left can be followed and never used. Parameters that are not known here are hidden. Whatever was found to be
secret in an exchange is at last wiped from all else in it, should it stand somewhere else as well.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from rolecall.checks import Secret

HIDDEN: Final = {"hidden": True}
"""Stands for a value that is not recorded at all."""

MAX_TEXT: Final = 1000
MAX_ITEMS: Final = 64
MAX_DEPTH: Final = 8
MAX_BODY: Final = 16 * 1024
MAX_VALUE: Final = 8 * 1024
"""Characters of a marked value; of a longer one only the beginning and the hash are kept."""

MIN_SECRET: Final = 8
"""Characters; shorter values join no flows, and are not looked for within others: they would be found everywhere."""

_NEVER: Final = re.compile(r"pass|pwd|secret|csrf|registration_access_token", re.IGNORECASE)
_MARKED: Final = re.compile(
    r"(?!postal_code)(.*_)?(code|token|assertion)|(.*_)?token_hint|code_verifier|request_uri|request|interaction",
    re.IGNORECASE,
)
_WHOLE: Final = frozenset({"state", "code_challenge"})
"""No secrets, but values to follow: kept whole, with their hash."""
_KEPT: Final = frozenset(
    {"code", "code_verifier", "token", "access_token", "refresh_token", "id_token", "id_token_hint", "request"}
    | {"request_uri", "device_code", "user_code", "assertion", "client_assertion", "subject_token", "actor_token"}
)
"""The marked parameters whose values are kept as well: what a specification defines, and no page's own secrets."""
_MARK: Final = frozenset({"shown", "hash", "value"})

_JOINS: Final = frozenset({"code", "request_uri", "interaction", "access_token", "refresh_token", "token"})
"""The parameters by which exchanges belong to one flow: a server made them, and makes none twice."""
_CHOSEN: Final = frozenset({"state", "code_challenge", "code_verifier"})
"""Those that a client made: should it use one again, as many an example does, its flows are still two."""

_PLAIN = {"acr_values", "audience", "client_id", "code_challenge_method", "decision", "display", "dpop_jkt"}
_PLAIN |= {"error", "error_description", "expires_in", "grant_type", "issuer", "max_age", "nonce", "prompt"}
_PLAIN |= {"response_mode", "response_type", "scope", "token_type", "token_type_hint", "username", "validator"}
# what is wanted to be told of somebody, and a name like `username`: no secrets, and the point of what is watched
_PLAIN |= {"again", "claims", "claims_locales", "client_assertion_type", "login_hint", "ui_locales"}
_URLS: Final = frozenset({"redirect_uri", "post_logout_redirect_uri", "next", "error_uri", "iss", "resource"})

_REQUEST_HEADERS = {"accept", "content-length", "content-type", "host", "origin", "rolecall-validator"}
_REQUEST_HEADERS |= {"sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "traceparent", "user-agent"}
_RESPONSE_HEADERS = {"allow", "cache-control", "content-type", "dpop-nonce", "retry-after", "www-authenticate"}

_OWN: Final = frozenset(
    {"expected", "actual", "parameters", "unverified_header", "unverified_claims", "request_headers"}
    | {"response_headers"}
)
"""Names of ours, in which nobody's secret stands."""

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*:)?/")

LEAST_RANDOM: Final = 22
_RANDOM: Final = re.compile(r"(?<![A-Za-z0-9_-])(?=[a-z_-]*[A-Z0-9])[A-Za-z0-9_-]{22,}")
"""What 128 random bits or more look like in base64url or hexadecimal."""

_JWT: Final = re.compile(r"(eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*\.)[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _Rule:
    never: bool
    joins: bool
    followed: bool
    marked: bool
    kept: bool


@lru_cache(maxsize=512)
def _rule(name: str) -> _Rule:
    """What becomes of the value of a parameter or member of this name."""
    return _Rule(
        never=_NEVER.search(name) is not None,
        joins=name in _JOINS or name in _CHOSEN,
        followed=name in _WHOLE,
        marked=_MARKED.fullmatch(name) is not None,
        kept=name in _KEPT,
    )


class Redaction:
    """The redaction of one exchange; it collects `handles`, the keyed hashes by which the exchange is joined to others.

    Of them, `chosen` are hashes of what a client made.

    Args:
        key: of the hashes; the same in all services, or nothing is joined.
        own_cookies: names of cookies that may be named; a browser sends a host's cookies to all of its ports.
    """

    def __init__(self, key: str, own_cookies: Iterable[str] = ()) -> None:
        self.handles: set[str] = set()
        self.chosen: set[str] = set()
        self._key = key.encode()
        self._own_cookies = frozenset(own_cookies)
        self._hashes: dict[str, str] = {}
        self._names: set[str] = set()  # of clients: random, and no secrets
        self._secrets: set[str] = set()
        self._hidden: set[str] = set()

    def hash(self, text: str) -> str:
        """HMAC-SHA256, 16 hexadecimal digits: tells that two values are equal, and nothing else."""
        found = self._hashes.get(text)
        if found is None:
            found = hmac.digest(self._key, text.encode(errors="surrogatepass"), "sha256").hex()[:16]
            self._hashes[text] = found
        return found

    def mark(self, text: str, *, whole: bool = False) -> dict[str, Any]:
        """A secret as `shown` and `hash`, and when it is `whole` as `value`; a JWT with its header and claims."""
        self._secrets.add(text)
        marked: dict[str, Any] = {"shown": _shown(text), "hash": self.hash(text)}
        if whole and len(text) <= MAX_VALUE:
            marked["value"] = text
        header, claims = _unverified_jwt(text)
        if claims is not None:
            self._secrets.add(text.rpartition(".")[2])
            marked |= {"unverified_header": self.json(header), "unverified_claims": self.json(claims)}
        return marked

    def parameters(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """A query or a form; the value of a repeated parameter is a list."""
        result: dict[str, Any] = {}
        for name, text in pairs[:MAX_ITEMS]:
            value = self._parameter(name, text)
            shown = name if re.fullmatch(r"[A-Za-z][A-Za-z_.-]{0,39}", name) else "?"
            if shown not in result:
                result[shown] = value
            elif isinstance(result[shown], list):
                result[shown].append(value)
            else:
                result[shown] = [result[shown], value]
        return result

    def query(self, text: str) -> dict[str, Any]:
        """Parameters in the form of a query (`application/x-www-form-urlencoded`)."""
        return self.parameters(parse_qsl(text, keep_blank_values=True))

    def url(self, text: str) -> Any:
        """A URL: its text, or `url` and `parameters` (of query and fragment) when it carries some."""
        try:
            parts = urlsplit(text)
        except ValueError:
            return HIDDEN
        base = f"{parts.scheme}:" if parts.scheme else ""
        base += f"//{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
        base = (base + self.path(parts.path))[:MAX_TEXT]
        # a fragment without `=` only names a place on a page
        fragment = parts.fragment if "=" in parts.fragment else ""
        pairs = [*parse_qsl(parts.query, keep_blank_values=True), *parse_qsl(fragment, keep_blank_values=True)]
        return {"url": base, "parameters": self.parameters(pairs)} if pairs else base

    def path(self, text: str) -> str:
        """A path; what looks like a secret in it is cut."""
        return _RANDOM.sub(lambda match: _shown(match[0]), text)[:MAX_TEXT]

    def request_headers(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """The headers of a request, names in lower case."""
        result: dict[str, Any] = {}
        for name, text in headers.items():
            if name in _REQUEST_HEADERS:
                result[name] = text[:MAX_TEXT]
            elif name == "authorization":
                result[name] = self._authorization(text)
            elif name == "dpop":
                result[name] = self.mark(text, whole=True)
            elif name == "cookie":
                result[name] = self._cookies(text.split(";"))
        return result

    def response_headers(self, headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """The headers of a response, names in lower case."""
        result: dict[str, Any] = {}
        for name, text in headers:
            if name == "location":
                result[name] = self.url(text)
            elif name == "set-cookie":
                result.setdefault(name, []).extend(self._cookies([text.partition(";")[0]]))
            elif name in _RESPONSE_HEADERS:
                result[name] = text[:MAX_TEXT]
        return result

    def json_body(self, body: bytes) -> Any:
        """A body of JSON; None when it is none or too long."""
        if len(body) > MAX_BODY:
            return None
        try:
            return self.json(json.loads(body, parse_constant=str))
        except (ValueError, RecursionError):
            return None

    def json(self, value: Any, name: str = "", depth: int = 0) -> Any:
        """A value of JSON, judged by its member's name."""
        if isinstance(value, dict | list) and (depth == MAX_DEPTH or _rule(name).never):
            self._hide(*_texts(value))
            return HIDDEN
        if isinstance(value, dict):
            return {key[:MAX_TEXT]: self.json(each, key, depth + 1) for key, each in [*value.items()][:MAX_ITEMS]}
        if isinstance(value, list):
            return [self.json(each, name, depth + 1) for each in value[:MAX_ITEMS]]
        if isinstance(value, str | int | float) and (found := self._by_name(name, str(value))) is not None:
            return found
        if isinstance(value, str):
            return self.url(value) if _URL.match(value) else value[:MAX_TEXT]
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        return "…"

    def fact(self, value: Any) -> Any:
        """A value that a check or a change of state told: a `Secret` is marked, and what looks like one as well."""
        if isinstance(value, Secret):
            return self.mark(str(value))
        if isinstance(value, str):
            if len(value) < LEAST_RANDOM or value in self._names:
                return value
            return self.mark(value) if _RANDOM.fullmatch(value) else self.path(value)
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, list | tuple | set | frozenset):
            return [self.fact(each) for each in [*value][:MAX_ITEMS]]
        return self.path(str(value))

    def wipe(self, value: Any) -> Any:
        """The finished value without anything that was found to be secret in the exchange, but for whole marks."""
        # the longest first: a part of it that is secret as well would break it up and leave the rest standing
        secrets = sorted((secret for secret in self._secrets if len(secret) >= MIN_SECRET), key=len, reverse=True)
        return self._wiped(value, secrets)

    def _wiped(self, value: Any, secrets: list[str]) -> Any:
        kind = type(value)
        if kind is str:
            if len(value) < MIN_SECRET:
                return _shown(value) if value and value in self._hidden else value
            for secret in secrets:
                if secret in value:
                    value = value.replace(secret, _shown(secret))
            return _JWT.sub(r"\1…", value) if "eyJ" in value else value
        if kind is dict:
            wiped = {
                key if len(key) < MIN_SECRET or key in _OWN else self._wiped(key, secrets): self._wiped(each, secrets)
                for key, each in value.items()
            }
            whole = value.get("value")
            # a mark of ours, which nobody else can make
            if isinstance(whole, str) and value.get("hash") == self.hash(whole) and not self._is_hidden(whole):
                wiped["value"] = whole
            return wiped
        return [self._wiped(each, secrets) for each in value] if kind is list else value

    def _is_hidden(self, value: Any) -> bool:
        """Whether a value is, or holds, what is never recorded: somebody sent a password as a token."""
        return any(secret in str(value) for secret in self._hidden if len(secret) >= MIN_SECRET)

    def _hide(self, *texts: str) -> None:
        self._secrets.update(texts)
        self._hidden.update(texts)

    def _parameter(self, name: str, text: str) -> Any:
        if not text:
            return ""
        found = self._by_name(name, text)
        if found is not None:
            return found
        if name in _URLS:
            return self.url(text)
        return text[:MAX_TEXT] if name in _PLAIN else HIDDEN

    def _by_name(self, name: str, text: str) -> Any:
        """The value in its recorded form if the name decides it; else None."""
        if name == "client_id":
            self._names.add(text)
        rule = _rule(name)
        if rule.never:
            self._hide(text)
            return HIDDEN
        if rule.joins:
            self._join(name, text)
        if rule.followed:
            return {"value": text[:MAX_TEXT], "hash": self.hash(text)}
        return self.mark(text, whole=rule.kept) if rule.marked else None

    def _join(self, name: str, text: str) -> None:
        if name == "code_verifier":
            text = base64.urlsafe_b64encode(hashlib.sha256(text.encode(errors="replace")).digest()).decode().rstrip("=")
        if len(text) < MIN_SECRET:
            return
        self.handles.add(self.hash(text))
        # the address of a request is the client's own, unless it was pushed: then it is a URN (RFC 9126 section 2.2)
        if name in _CHOSEN or (name == "request_uri" and not text.startswith("urn:")):
            self.chosen.add(self.hash(text))

    def _authorization(self, text: str) -> dict[str, Any]:
        """The `Authorization` header (RFC 9110 section 11.6.2)."""
        scheme, _, credentials = text.partition(" ")
        if scheme.lower() in {"bearer", "dpop"}:
            self._secrets.add(credentials)
            self._join("access_token", credentials)
            return {"scheme": scheme, "token": self.mark(credentials, whole=True)}
        self._hide(credentials)
        if scheme.lower() == "basic":
            return {"scheme": scheme, **self._basic(credentials)}
        return HIDDEN

    def _basic(self, credentials: str) -> dict[str, Any]:
        """Whose the credentials are (RFC 6749 section 2.3.1); without a colon all of it may be the secret."""
        try:
            user, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except ValueError:
            return {}
        secret = password if colon else user
        self._hide(secret, unquote_plus(secret))
        if not colon:
            return {}
        self._names.add(unquote_plus(user))
        return {"client_id": unquote_plus(user)[:100]}

    def _cookies(self, pairs: Iterable[str]) -> list[str]:
        names = []
        for pair in pairs:
            name, _, text = pair.strip().partition("=")
            if len(text) >= MIN_SECRET:
                self._hide(text)
            if name in self._own_cookies:
                names.append(name)
        return names


def masked(value: Any) -> Any:
    """A recorded value without what could be used: marks lose the secret itself."""
    if isinstance(value, dict):
        whole = value.keys() >= _MARK
        return {key: masked(each) for key, each in value.items() if not (whole and key == "value")}
    return [masked(each) for each in value] if isinstance(value, list) else value


def _shown(text: str) -> str:
    """The first characters, never more than a quarter; of a URN (RFC 9126 section 2.2) those of its last part."""
    end = text.rpartition(":")[2]
    return end[: min(6, len(end) // 4)] + "…"


def _texts(value: Any) -> Iterator[str]:
    """All strings and numbers in a value of JSON; its depth is bounded by what Python's parser takes."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)


def _unverified_jwt(text: str) -> tuple[Any, Any]:
    parts = text.split(".")
    if len(parts) != 3 or len(text) > MAX_BODY:
        return None, None
    try:
        header, claims = (
            json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), parse_constant=str)
            for part in parts[:2]
        )
    except (ValueError, RecursionError):
        return None, None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else (None, None)

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
_WHOLE: Final = frozenset({"state", "nonce", "code_challenge", "at_hash", "c_hash", "ath", "jkt", "dpop_jkt"})
"""No secrets, but values to follow: kept whole, with their hash."""
_HASHES: Final = frozenset({"at_hash", "c_hash", "ath"})
"""Claims that are the hash of a token or a code beside them (OpenID Connect Core section 3.3.2.11, RFC 9449 section
4.2)."""
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of a JWK that only its owner may have (RFC 7518 section 6)."""
_KEPT: Final = frozenset(
    {"code", "code_verifier", "token", "access_token", "refresh_token", "id_token", "id_token_hint", "request"}
    | {"request_uri", "device_code", "user_code", "assertion", "client_assertion", "subject_token", "actor_token"}
)
"""The marked parameters whose values are kept as well: what a specification defines, and no page's own secrets."""
_MARK: Final = frozenset({"shown", "hash", "value"})

_JOINS: Final = frozenset({"code", "request_uri", "interaction", "access_token", "refresh_token", "token"})
"""The parameters by which exchanges belong to one flow: a server made them, and makes none twice."""
_CHOSEN: Final = frozenset({"state", "code_challenge", "code_verifier", "request"})
"""Those that a client made: should it use one again, as many an example does, its flows are still two."""

_PLAIN = {"acr_values", "audience", "client_id", "code_challenge_method", "decision", "display"}
_PLAIN |= {"error", "error_description", "expires_in", "grant_type", "issuer", "max_age", "prompt"}
_PLAIN |= {"response_mode", "response_type", "scope", "token_type", "token_type_hint", "username", "validator"}
# what is wanted to be told of somebody, and a name like `username`: no secrets, and the point of what is watched
_PLAIN |= {"again", "claims", "claims_locales", "client_assertion_type", "login_hint", "ui_locales"}
_URLS: Final = frozenset({"redirect_uri", "post_logout_redirect_uri", "next", "error_uri", "iss", "resource"})

_REQUEST_HEADERS = {"accept", "content-length", "content-type", "host", "origin", "rolecall-validator"}
_REQUEST_HEADERS |= {"sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "traceparent", "user-agent"}
_REQUEST_HEADERS |= {"accept-encoding", "accept-language", "connection", "upgrade-insecure-requests"}
_RESPONSE_HEADERS = {"allow", "cache-control", "content-type", "dpop-nonce", "retry-after", "www-authenticate"}
_RESPONSE_HEADERS |= {"connection", "content-length", "date", "expires", "referrer-policy", "server", "vary"}
_RESPONSE_HEADERS |= {"x-content-type-options", "x-frame-options", "x-request-id"}

_OWN: Final = frozenset(
    {"expected", "actual", "parameters", "unverified_header", "unverified_claims", "request_headers"}
    | {"response_headers"}
)
"""Names of ours, in which nobody's secret stands."""

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*:)?/")

_THUMBPRINTS: Final[dict[str, tuple[str, ...]]] = {
    "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n"),
}  # fmt: skip
"""What of a JWK is in its thumbprint, in order (RFC 7638 section 3.2, RFC 8037 section 2)."""

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

    Of them, `chosen` are hashes of what a client made. `cut` becomes true when something was too long or too much.
    Values join where they travel: in a query, a form, an answer's own members and a redirect; in no JWT's claims, which
    anybody can write, and in no address within another.

    Args:
        key: of the hashes; the same in all services, or nothing is joined.
        own_cookies: names of cookies that may be named; a browser sends a host's cookies to all of its ports.
    """

    def __init__(self, key: str, own_cookies: Iterable[str] = ()) -> None:
        self.handles: set[str] = set()
        self.chosen: set[str] = set()
        self.cut = False
        self._key = key.encode()
        self._own_cookies = frozenset(own_cookies)
        self._hashes: dict[str, str] = {}
        self._names: set[str] = set()  # of clients: random, and no secrets
        self._secrets: set[str] = set()
        self._hidden: set[str] = set()
        self._hashed: list[str] = []  # codes and tokens
        self._of_hashes: list[dict[str, Any]] = []  # the claims that may be their hashes

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
        elif whole:
            self.cut = True
        header, claims = _unverified_jwt(text)
        if claims is not None:
            self._secrets.add(text.rpartition(".")[2])
            marked |= {"unverified_header": self.json(header), "unverified_claims": self.json(claims)}
        return marked

    def parameters(self, pairs: Sequence[tuple[str, str]], *, joins: bool = True) -> dict[str, Any]:
        """A query or a form; the value of a repeated parameter is a list."""
        result: dict[str, Any] = {}
        self.cut |= len(pairs) > MAX_ITEMS
        for name, text in pairs[:MAX_ITEMS]:
            value = self._parameter(name, text, joins)
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

    def url(self, text: str, *, joins: bool = False) -> Any:
        """A URL: its text, or `url` and `parameters` (of query and fragment) when it carries some."""
        try:
            parts = urlsplit(text)
        except ValueError:
            return HIDDEN
        base = f"{parts.scheme}:" if parts.scheme else ""
        base += f"//{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
        base = self._text(base + self.path(parts.path))
        # a fragment without `=` only names a place on a page
        fragment = parts.fragment if "=" in parts.fragment else ""
        pairs = [pair for part in (parts.query, fragment) if part for pair in parse_qsl(part, keep_blank_values=True)]
        return {"url": base, "parameters": self.parameters(pairs, joins=joins)} if pairs else base

    def path(self, text: str) -> str:
        """A path; what looks like a secret in it is cut."""
        return self._text(_RANDOM.sub(lambda match: _shown(match[0]), text))

    def request_headers(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """The headers of a request, names in lower case; of one that is not known only that it was there."""
        result: dict[str, Any] = {}
        self.cut |= len(headers) > MAX_ITEMS
        for name, text in [*headers.items()][:MAX_ITEMS]:
            if name in _REQUEST_HEADERS:
                result[name] = self._text(text)
            elif name == "authorization":
                result[name] = self._authorization(text)
            elif name == "dpop":
                result[name] = self._proof(text)
            elif name == "cookie":
                result[name] = self._cookies(text.split(";"))
            else:
                result[_header(name)] = HIDDEN
        return result

    def response_headers(self, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """The headers of a response, names in lower case; of one that is not known only that it was there."""
        result: dict[str, Any] = {}
        self.cut |= len(headers) > MAX_ITEMS
        for name, text in headers[:MAX_ITEMS]:
            if name == "location":
                result[name] = self.url(text, joins=True)
            elif name == "set-cookie":
                result.setdefault(name, []).extend(self._cookies([text.partition(";")[0]]))
            elif name in _RESPONSE_HEADERS:
                result[name] = self._text(text)
            else:
                result[_header(name)] = HIDDEN
        return result

    def json_body(self, body: bytes, *, joins: bool = False) -> Any:
        """A body of JSON, whose own members join others when it `joins`; None when it is none or too long."""
        if len(body) > MAX_BODY:
            self.cut = True
            return None
        try:
            return self.json(json.loads(body, parse_constant=str), joins=joins)
        except (ValueError, RecursionError):
            return None

    def json(self, value: Any, name: str = "", depth: int = 0, *, joins: bool = False) -> Any:
        """A value of JSON, judged by its member's name."""
        kind = type(value)
        if kind is dict or kind is list:
            if depth == MAX_DEPTH or _rule(name).never:
                self.cut |= depth == MAX_DEPTH
                return self._hidden_part(value)
            self.cut |= len(value) > MAX_ITEMS
            if kind is list:
                return [self.json(each, name, depth + 1) for each in value[:MAX_ITEMS]]
            inner = joins and depth == 0
            private = _PRIVATE if "kty" in value else frozenset()
            return {
                self._text(key): self._hidden_part(each)
                if key in private
                else self.json(each, key, depth + 1, joins=inner)
                for key, each in [*value.items()][:MAX_ITEMS]
            }
        if value is None:
            return None
        found = self._by_name(name, value if kind is str else str(value), joins)
        if found is not None:
            return found
        if kind is str:
            return self.url(value) if _URL.match(value) else self._text(value)
        return value if kind is not float or math.isfinite(value) else "…"

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
        self._pair()
        if not self._secrets and "eyJ" not in json.dumps(value):
            return value  # most are such, and walking through all of it is half of what it would cost
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

    def _hidden_part(self, value: Any) -> Any:
        self._hide(*_texts(value))
        return HIDDEN

    def _text(self, text: str) -> str:
        if len(text) <= MAX_TEXT:
            return text
        self.cut = True
        return text[:MAX_TEXT]

    def _pair(self) -> None:
        """Give the claims that are a hash of a code or a token the hash by which that is followed."""
        if not self._of_hashes:
            return
        known = {text: self.hash(whole) for whole in self._hashed for text in _hashes_of(whole)}
        for claim in self._of_hashes:
            claim["hash"] = known.get(claim["value"], claim["hash"])

    def _proof(self, text: str) -> dict[str, Any]:
        """A DPoP proof (RFC 9449 section 4.2), with the thumbprint of its key: that is what binds a token."""
        proof = self.mark(text, whole=True)
        header, _ = _unverified_jwt(text)
        thumbprint = _thumbprint(header.get("jwk")) if header else None
        return proof | ({"jkt": {"value": thumbprint, "hash": self.hash(thumbprint)}} if thumbprint else {})

    def _parameter(self, name: str, text: str, joins: bool) -> Any:
        if not text:
            return ""
        found = self._by_name(name, text, joins)
        if found is not None:
            return found
        if name in _URLS:
            return self.url(text)
        return self._text(text) if name in _PLAIN else HIDDEN

    def _by_name(self, name: str, text: str, joins: bool) -> Any:
        """The value in its recorded form if the name decides it; else None."""
        if name == "client_id":
            self._names.add(text)
        rule = _rule(name)
        if rule.never:
            self._hide(text)
            return HIDDEN
        if rule.joins and joins:
            self._join(name, text)
        if rule.followed:
            followed = {"value": self._text(text), "hash": self.hash(text)}
            if name in _HASHES:
                self._of_hashes.append(followed)
            return followed
        if name in {"code", "access_token"}:
            self._hashed.append(text)
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
            self._hashed.append(credentials)
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


def _header(name: str) -> str:
    """The name of a header, unless it is none that anybody would give to one."""
    return name if re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name) and not _RANDOM.search(name) else "?"


def _hashes_of(text: str) -> Iterator[str]:
    """What may stand in `at_hash`, `c_hash` (the left half, by algorithm) and `ath` (all of it)."""
    encoded = text.encode(errors="replace")
    for algorithm in (hashlib.sha256, hashlib.sha384, hashlib.sha512):
        digest = algorithm(encoded).digest()
        for part in (digest, digest[: len(digest) // 2]):
            yield base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _thumbprint(key: Any) -> str | None:
    """The SHA-256 thumbprint of a JWK (RFC 7638 section 3); None when it is none."""
    names = _THUMBPRINTS.get(str(key.get("kty")), ()) if isinstance(key, dict) else ()
    if not names or not all(isinstance(key.get(name), str) for name in names):
        return None
    text = json.dumps({name: key[name] for name in names}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


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

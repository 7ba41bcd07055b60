"""Rules for redaction: which parameters, members, and headers may be recorded, in which form, and up to which size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_TEXT: Final = 1000
"""Maximum length of a text, in characters."""

MAX_ITEMS: Final = 64
"""Maximum number of parameters, headers, members, or elements."""

MAX_DEPTH: Final = 8
"""Maximum nesting of JSON."""

MAX_BODY: Final = 16 * 1024
"""Maximum size of a JSON body, in bytes, and of a decoded JWT, in characters."""

MAX_VALUE: Final = 8 * 1024
"""Maximum length of the value in a mark, in characters; of a longer value, the mark has only its start and hash."""

MIN_SECRET: Final = 8
"""Minimum length, in characters, of values that join flows or are wiped from other texts.

Shorter values also occur by chance.
"""

MIN_RANDOM: Final = 22
"""Minimum length, in characters, of texts that look random; see `RANDOM`."""

RANDOM: Final = re.compile(r"(?<![A-Za-z0-9_-])(?=[a-z_-]*[A-Z0-9])[A-Za-z0-9_-]{22,}")
"""Matches 128 or more random bits in base64url or hexadecimal."""

URL: Final = re.compile(r"([a-z][a-z0-9+.-]*:)?/")
"""Matches the start of a URL or of an absolute path."""

JWT: Final = re.compile(r"(eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*\.)[A-Za-z0-9_-]+")
"""Matches a JWT; the group ends before the signature."""

REGISTRATION_PATH: Final = re.compile(r"/register", re.IGNORECASE)
"""Matches in paths where a bearer token is a registration or initial access token, which may not be recorded."""

CLIENT_PATH: Final = re.compile(r"(/(?:register|logos)/)(.+)")
"""Matches paths that end with a client ID."""

PARAMETER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z_.-]{0,39}")
NAME_DIGEST: Final = re.compile("_[0-9a-f]{16}$")
"""The end of the name of a cookie that belongs to one request, which is recorded without it."""

HEADER_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")

_HIDDEN: Final = re.compile(r"pass|pwd|secret|csrf|registration_access_token", re.IGNORECASE)
_MARKED: Final = re.compile(
    r"(?!postal_code)(.*_)?(code|token|assertion)|(.*_)?token_hint|code_verifier|request_uri|request|interaction",
    re.IGNORECASE,
)
_VALUE_KEPT: Final = frozenset(
    {"code", "code_verifier", "token", "access_token", "refresh_token", "id_token", "id_token_hint", "request"}
    | {"request_uri", "device_code", "user_code", "assertion", "client_assertion", "subject_token", "actor_token"}
)
"""Marked parameters whose marks include the value: those of the specifications, but not the secrets of our pages."""

_FOLLOWED: Final = frozenset({"state", "nonce", "code_challenge", "at_hash", "c_hash", "ath", "jkt", "dpop_jkt"})
"""Values that are not secret, but worth following: they are recorded in full, with their hash."""

_SERVER_ISSUED: Final = frozenset({"code", "request_uri", "interaction", "access_token", "refresh_token", "token"})
"""Parameters that join exchanges into flows, because a server issues each value only once."""

CLIENT_CHOSEN: Final = frozenset({"state", "code_challenge", "code_verifier", "request"})
"""Parameters whose values the client chooses; a client that reuses a value, as examples do, still has two flows."""

IDENTITIES: Final = frozenset({"client_id", "username"})
"""Parameters that are recorded only if the service knows the value, because it may be a secret in the wrong field."""

HASH_CLAIMS: Final = frozenset({"at_hash", "c_hash", "ath"})
"""Claims that are the hash of a token or code of the same exchange (OpenID Connect Core section 3.3.2.11, RFC 9449
section 4.2)."""

PRIVATE_KEY_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Private members of a JWK (RFC 7518 section 6)."""

PLAIN_PARAMETERS: Final = frozenset(
    {"acr_values", "audience", "client_id", "code_challenge_method", "decision", "display"}
    | {"error", "error_description", "expires_in", "grant_type", "issuer", "max_age", "prompt"}
    | {"response_mode", "response_type", "scope", "token_type", "token_type_hint", "username", "validator"}
    # personal data such as the username, but not secret, and needed to understand the request
    | {"again", "claims", "claims_locales", "client_assertion_type", "login_hint", "ui_locales"}
)
"""Parameters that are recorded in full."""

URL_PARAMETERS: Final = frozenset({"redirect_uri", "post_logout_redirect_uri", "next", "error_uri", "iss", "resource"})

REQUEST_HEADERS: Final = frozenset(
    {"accept", "content-length", "content-type", "host", "origin", "rolecall-validator"}
    | {"sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "traceparent", "user-agent"}
    | {"accept-encoding", "accept-language", "connection", "upgrade-insecure-requests"}
)
"""Request headers that are recorded in full."""

RESPONSE_HEADERS: Final = frozenset(
    {"allow", "cache-control", "content-type", "dpop-nonce", "retry-after", "www-authenticate"}
    | {"connection", "content-length", "date", "expires", "referrer-policy", "server", "vary"}
    | {"x-content-type-options", "x-frame-options", "x-request-id"}
)
"""Response headers that are recorded in full."""

EVENT_MEMBERS: Final = frozenset(
    {"expected", "actual", "parameters", "unverified_header", "unverified_claims", "request_headers"}
    | {"response_headers"}
)
"""Names of the event's own members, which cannot contain a secret."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How the value of a parameter or member is recorded.

    Args:
        hidden: never.
        joins: its hash joins exchanges into flows.
        followed: in full, with its hash.
        marked: as a mark.
        value_kept: as a mark that includes the value.
        is_needed: there is any rule for this name.
    """

    hidden: bool
    joins: bool
    followed: bool
    marked: bool
    value_kept: bool
    is_needed: bool


@lru_cache(maxsize=512)
def rule_for(name: str) -> Rule:
    """Return the rule for the parameter or member of this name."""
    hidden = _HIDDEN.search(name) is not None
    joins = name in _SERVER_ISSUED or name in CLIENT_CHOSEN
    followed = name in _FOLLOWED
    marked = _MARKED.fullmatch(name) is not None
    is_needed = hidden or joins or followed or marked or name in IDENTITIES
    return Rule(hidden, joins, followed, marked, name in _VALUE_KEPT, is_needed)

"""Claims about a person that no specification defines, and the scopes that release them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from rolecall.vocabulary import OPENID_SCOPES, SUBJECT_KIND
from rolecall_auth.jose import access_tokens
from rolecall_auth.openid import id_tokens

RESERVED: Final = frozenset(
    {
        *id_tokens.CLAIMS, *access_tokens.CLAIMS, SUBJECT_KIND, "nbf", "typ", "active", "token_type", "username",
        "cnf", "act", "may_act", "authorization_details", "events", "toe", "txn", "sub_id", "sub_jwk", "c_hash",
        "s_hash", "vot", "vtm", "_claim_names", "_claim_sources", "error", "error_description",
    }
)  # fmt: skip
"""Names with a meaning in a protocol: only this server gives them values. Most are in the IANA registries of JWT claims
and of introspection responses."""

MAX_BYTES: Final = 3072
"""Maximum size of a person's claims as JSON, so that a token with all of them has at most 8,192 characters."""

MAX_DEPTH: Final = 8
"""Maximum nesting depth of arrays and objects in a claim."""

MAX_NAMES: Final = 20
"""Maximum number of claims in a scope."""

_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")
"""A scope value (RFC 6749 section 3.3)."""

_NAME: Final = re.compile(r"[\x21-\x7e]{1,100}")


def scope_faults(scope: str, description: str, claims: Collection[str]) -> Iterator[str]:
    """Yield the message of each error in the definition of a claim scope."""
    if not _SCOPE.fullmatch(scope):
        yield f"{scope[:100]} is not a scope value of at most 100 characters (RFC 6749 section 3.3)"
    elif scope in OPENID_SCOPES:
        yield f"{scope} is a scope of OpenID Connect"
    if not description or len(description) > 300 or not description.isprintable():
        yield "the description must have 1 to 300 printable characters"
    if not 1 <= len(claims) <= MAX_NAMES:
        yield f"a scope must release 1 to {MAX_NAMES} claims"
    for name in claims:
        if not _NAME.fullmatch(name):
            yield f"{name[:100]} is not a claim name of 1 to 100 ASCII characters without spaces"
        elif name in RESERVED:
            yield f"{name} is a claim that only this server sets"


def value_fault(value: Any) -> str:
    """Return what is wrong with the value of a claim, as the predicate of a sentence, or an empty string."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return "must be a JSON value with valid Unicode text"
    return f"must not be nested more than {MAX_DEPTH} levels deep" if _is_nested(value, MAX_DEPTH) else ""


def size_fault(claims: Mapping[str, Any]) -> str:
    """Return what is wrong with the size of a person's valid claims, or an empty string."""
    size = len(json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode())
    return f"the claims have {size} bytes as JSON, and at most {MAX_BYTES} are allowed" if size > MAX_BYTES else ""


def _is_nested(value: Any, levels: int) -> bool:
    """Whether a value has more than this number of levels of arrays and objects."""
    if not isinstance(value, dict | list):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_nested(member, levels - 1) for member in members)

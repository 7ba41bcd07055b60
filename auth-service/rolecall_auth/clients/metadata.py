"""Client metadata: every member in one table, and what a registration must be (RFC 7591 section 2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from rolecall import checks
from rolecall.checks import Check
from rolecall.settings import is_loopback
from rolecall.vocabulary import ASSERTION_ALGORITHMS, CLIENT_AUTH_METHODS, ID_TOKEN_ALGORITHMS, OPENID_SCOPES
from rolecall_auth.grants import GRANTS
from rolecall_auth.jose.client_keys import PRIVATE, BadJWT, public_keys
from rolecall_auth.models.client import MAX_HOST, Client, redirect_uri_fault
from rolecall_auth.outbound.fetcher import FetchBusy
from rolecall_auth.outbound.policy import FetchError, is_secure
from rolecall_auth.services import services

_RFC: Final = "RFC 7591 section 2"
_OIDC: Final = "OpenID Connect Registration section 2"

MAX_TEXTS: Final = 20
"""Values in a list."""

MAX_NAME: Final = 100
"""Characters of `client_name`."""

MAX_NUMBER: Final = 10 * 365 * 86400
"""Seconds of `default_max_age`."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of client metadata.

    Args:
        kind: of its JSON value: text, texts (a list), uri, uris, number, flag, keys (a JWK Set).
        default: what stands there when it is left out; None when nothing does.
        choices: what a text, or each of the texts, may be.
        column: whether the client has a column for it; else it is only told again.
        max_length: characters of a text.
        max_items: values in a list.
    """

    name: str
    kind: str
    clause: str
    default: Any = None
    choices: tuple[str, ...] = ()
    column: bool = True
    max_length: int = 500
    max_items: int = MAX_TEXTS

    @property
    def check(self) -> Check:
        """That it is as it should be."""
        return checks.registry[f"register.{self.name}"]


def _define(name: str, kind: str, clause: str = _RFC, **more: Any) -> Member:
    error = "invalid_redirect_uri" if name == "redirect_uris" else "invalid_client_metadata"
    checks.define(f"register.{name}", clause, error, f"The member {name} is missing or not as it has to be.")
    return Member(name, kind, clause, **more)


_GRANTS: Final = tuple(grant.grant_type for grant in GRANTS)

MEMBERS: Final = (
    # what one may be hangs on application_type
    _define("redirect_uris", "texts", max_length=2000),
    _define("token_endpoint_auth_method", "text", default="client_secret_basic", choices=CLIENT_AUTH_METHODS),
    _define("grant_types", "texts", default=("authorization_code",), choices=_GRANTS),
    _define("response_types", "texts", default=("code",), choices=("code",)),
    _define("client_name", "text", max_length=MAX_NAME),
    _define("client_uri", "uri", max_length=2000),
    _define("logo_uri", "uri", max_length=2000),
    _define("scope", "text", max_length=1000),
    _define("contacts", "texts", column=False),
    _define("tos_uri", "uri", max_length=2000),
    _define("policy_uri", "uri", max_length=2000),
    _define("jwks_uri", "uri", max_length=2000),
    _define("jwks", "keys"),
    _define("software_id", "text", column=False),
    _define("software_version", "text", column=False),
    _define("application_type", "text", _OIDC, default="web", choices=("web", "native")),
    _define("sector_identifier_uri", "uri", _OIDC, max_length=2000),
    _define("subject_type", "text", _OIDC, default="public", choices=("public", "pairwise")),
    _define("id_token_signed_response_alg", "text", _OIDC, default="RS256", choices=ID_TOKEN_ALGORITHMS),
    _define("userinfo_signed_response_alg", "text", _OIDC, choices=ID_TOKEN_ALGORITHMS),
    _define("request_object_signing_alg", "text", _OIDC, choices=ID_TOKEN_ALGORITHMS),
    _define(
        "token_endpoint_auth_signing_alg",
        "text",
        _OIDC,
        choices=tuple(each for algorithms in ASSERTION_ALGORITHMS.values() for each in algorithms),
    ),
    _define("default_max_age", "number", _OIDC),
    _define("require_auth_time", "flag", _OIDC, default=False),
    _define("default_acr_values", "texts", _OIDC, default=()),
    _define("initiate_login_uri", "uri", _OIDC, column=False, max_length=2000),
    _define("request_uris", "uris", _OIDC, default=(), max_length=512, max_items=10),
)

KEYS_OR_URI = checks.define(
    "register.one_key_set",
    _RFC,
    "invalid_client_metadata",
    "Register jwks or jwks_uri, not both; one of them is needed.",
)
CONSISTENT = checks.define(
    "register.consistent",
    "RFC 7591 section 2.1",
    "invalid_client_metadata",
    "The response type code and the grant type authorization_code go together, or are both left out.",
)
SECTOR = checks.define(
    "register.sector",
    "OpenID Connect Core section 8.1",
    "invalid_client_metadata",
    "Redirect URIs of several hosts, of loopback or not of https need a sector_identifier_uri, whose JSON array names "
    "all of them.",
)
NOT_ENCRYPTED = checks.define(
    "register.not_encrypted", _OIDC, "invalid_client_metadata", "This server encrypts no responses to clients."
)


def read(document: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """The metadata of a registration, validated, with what stands for members that were left out.

    Members that nobody knows are ignored; null counts as left out (RFC 7591 section 2, RFC 7592 section 2.2).

    Args:
        profile: how strict the server is with the client.

    Raises:
        OAuthError: invalid_redirect_uri or invalid_client_metadata (RFC 7591 section 3.2.2).
    """
    found: dict[str, Any] = {}
    for member in MEMBERS:
        value = document.get(member.name)
        if value is None:
            value = [*member.default] if isinstance(member.default, tuple) else member.default
        else:
            fault = _FAULTS[member.kind](member, value)
            told = f"The member {member.name} is {fault}."
            member.check(not fault, expected=member.kind, actual=fault, detail=told, description=told)
        if value is not None:
            found[member.name] = value
    encrypted = [name for name in document if name.endswith(("_encrypted_response_alg", "_encryption_alg"))]
    NOT_ENCRYPTED(not encrypted, expected="nothing encrypted", actual=" ".join(encrypted)[:200])
    _check_redirect_uris(found)
    _check_scope(found, profile)
    _check_keys(found)
    _check_consistency(found)
    _check_sector(found)
    host = urlsplit(found["redirect_uris"][0]).hostname or "An app without a name"
    found.setdefault("client_name", host[:MAX_NAME])
    return found


def columns(found: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as the client's columns; what was left out is emptied, as RFC 7592 section 2.2 wants it."""
    values = {member.name: found.get(member.name) for member in MEMBERS if member.column}
    return {
        **values,
        "further_metadata": {
            member.name: found[member.name] for member in MEMBERS if not member.column and member.name in found
        },
    }


def told(client: Client) -> dict[str, Any]:
    """What is registered, as the client is told it (RFC 7591 section 3.2.1)."""
    values = {member.name: getattr(client, member.name) for member in MEMBERS if member.column}
    return {name: value for name, value in {**values, **client.further_metadata}.items() if value is not None}


def _text_fault(member: Member, value: Any) -> str:
    if not isinstance(value, str):
        return "not a string"
    if not value:
        return "empty"
    if len(value) > member.max_length:
        return f"longer than {member.max_length} characters"
    if not value.isprintable():
        return "with control characters in it"
    return "" if not member.choices or value in member.choices else f"none of {', '.join(member.choices)}"


def _uri_fault(member: Member, value: Any) -> str:
    """A page, or something to be fetched: https, or what the lab allows."""
    if fault := _text_fault(member, value):
        return fault
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return "not a URI"
    if not value.isascii() or any(mark in value for mark in "\"'<>\\ ") or parts.username is not None:
        return "not a URI of ASCII characters without quotes, spaces and a user"
    secure = is_secure(value, lab=services().settings.lab)
    return "" if secure and parts.hostname and len(parts.hostname) <= MAX_HOST else "not https, or without a host"


def _of_each(fault_of: Callable[[Member, Any], str]) -> Callable[[Member, Any], str]:
    def fault(member: Member, value: Any) -> str:
        if not isinstance(value, list) or len(value) > member.max_items:
            return f"not a list of {member.max_items} values at most"
        return next((f"a list with a value that is {found}" for each in value if (found := fault_of(member, each))), "")

    return fault


def _number_fault(_member: Member, value: Any) -> str:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER
    return "" if good else f"not a whole number of seconds from 0 to {MAX_NUMBER}"


def _flag_fault(_member: Member, value: Any) -> str:
    return "" if isinstance(value, bool) else "not true or false"


def _keys_fault(_member: Member, value: Any) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
        return "not a JWK Set, an object with a list of keys"
    if any(isinstance(key, dict) and key.keys() & PRIVATE for key in value["keys"]):
        return "a JWK Set with a private key, which is private no more: make another"
    try:
        usable = public_keys(json.dumps(value).encode())
    except (BadJWT, ValueError, RecursionError):
        return "not a JWK Set"
    return "" if usable else "a JWK Set without a key that can be used here: RSA of 2048 bits or more, P-256, Ed25519"


_FAULTS: Final[Mapping[str, Callable[[Member, Any], str]]] = {
    "text": _text_fault,
    "texts": _of_each(_text_fault),
    "uri": _uri_fault,
    "uris": _of_each(_uri_fault),
    "number": _number_fault,
    "flag": _flag_fault,
    "keys": _keys_fault,
}


def _member(name: str) -> Check:
    return checks.registry[f"register.{name}"]


def _check_redirect_uris(found: dict[str, Any]) -> None:
    uris = found.get("redirect_uris", [])
    kind, lab = found["application_type"], services().settings.lab
    faults = {uri: fault for uri in uris if (fault := redirect_uri_fault(uri, kind, lab=lab))}
    _member("redirect_uris")(
        bool(uris) and not faults,
        expected="at least one, each as RFC 8252 wants it",
        actual=[*faults.values()],
        detail="; ".join(f"{uri[:200]} {fault}" for uri, fault in faults.items())[:300],
        description=f"A redirect URI {next(iter(faults.values()), 'is needed')}.",
    )
    found["redirect_uris"] = [*dict.fromkeys(uris)]


def _check_scope(found: dict[str, Any], profile: str) -> None:
    """Only scopes that there are; all of them for who names none (RFC 7591 section 2).

    APIs know the person by the account's identifier, which a client with pairwise subjects is not to learn.
    """
    known = {*OPENID_SCOPES, *(scope for resource in services().registry.resources() for scope in resource.scopes)}
    if found["subject_type"] == "pairwise":
        known = {*OPENID_SCOPES}
    wanted = found.get("scope", " ".join(sorted(known))).split()
    _member("scope")(
        bool(wanted) and {*wanted} <= known,
        expected=" ".join(sorted(known)),
        actual=" ".join(wanted)[:200],
        detail=f"no resource has the scope {', '.join(sorted({*wanted} - known))}"[:300],
        description="The member scope is empty, or names a scope that nothing here has; scopes_supported has them all. "
        "With pairwise subjects it is of OpenID Connect alone.",
    )
    if profile != "openid" and "scope" not in found:
        wanted = [scope for scope in wanted if scope != "offline_access"]
    found["scope"] = " ".join(dict.fromkeys(wanted))


def _check_keys(found: dict[str, Any]) -> None:
    both = "jwks" in found and "jwks_uri" in found
    needed = found["token_endpoint_auth_method"] == "private_key_jwt" or "request_object_signing_alg" in found
    missing = needed and "jwks" not in found and "jwks_uri" not in found
    fault = "both jwks and jwks_uri" if both else "neither jwks nor jwks_uri"
    KEYS_OR_URI(not both and not missing, expected="one of jwks and jwks_uri", otherwise=fault, detail=fault)


def _check_consistency(found: dict[str, Any]) -> None:
    code = "code" in found["response_types"]
    CONSISTENT(
        code == ("authorization_code" in found["grant_types"]),
        expected="code with authorization_code",
        otherwise="one alone",
    )
    algorithm, method = found.get("token_endpoint_auth_signing_alg"), found["token_endpoint_auth_method"]
    fitting = algorithm is None or algorithm in ASSERTION_ALGORITHMS.get(method, ())
    told = "The token_endpoint_auth_signing_alg is none of the token_endpoint_auth_method."
    CONSISTENT(fitting, expected=f"an algorithm of {method}", actual=algorithm or "none", description=told)


def _owned_host(uri: str) -> str | None:
    """The host of a redirect URI that is somebody's; the lab takes its own addresses for such."""
    parts = urlsplit(uri)
    of_the_web = parts.scheme == "https" and not is_loopback(uri)
    return parts.hostname if of_the_web or (services().settings.lab and parts.scheme in {"http", "https"}) else None


def _check_sector(found: dict[str, Any]) -> None:
    """The hosts that share a subject say so in a document of their own.

    Without one the host is the sector, so it must be somebody's: neither loopback, where any program answers, nor in a
    URI of another scheme, where anybody may write what he likes.
    """
    uri = found.get("sector_identifier_uri")
    if uri is None:
        hosts = {_owned_host(each) for each in found["redirect_uris"]}
        good = found["subject_type"] != "pairwise" or (len(hosts) == 1 and None not in hosts)
        SECTOR(good, expected="one host, of https off loopback", actual=" ".join(sorted(map(str, hosts)))[:200])
        return
    try:
        listed = json.loads(services().fetcher.get(uri, accept="application/json").body)
    except FetchBusy as error:
        raise error.refusal() from error
    except (FetchError, ValueError, RecursionError) as error:
        raise SECTOR.refusal(f"sector_identifier_uri: {error}"[:300]) from error
    whole = isinstance(listed, list) and all(each in listed for each in found["redirect_uris"])
    SECTOR(whole, expected="every redirect URI", otherwise="not all of them")

"""Client metadata: a table of its members, and the validation of a registration (RFC 7591 section 2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from rolecall import checks
from rolecall.checks import Check
from rolecall.settings import is_loopback
from rolecall.vocabulary import ASSERTION_ALGORITHMS, CLIENT_AUTH_METHODS, ID_TOKEN_ALGORITHMS
from rolecall_auth import grants
from rolecall_auth.grants import GRANTS
from rolecall_auth.jose.client_keys import PRIVATE, BadJWT, can_verify, public_keys
from rolecall_auth.models.client import MAX_HOST, Client, redirect_uri_fault
from rolecall_auth.openid import scopes
from rolecall_auth.outbound.fetcher import FetchBusy
from rolecall_auth.outbound.policy import FetchError, is_secure
from rolecall_auth.services import services

_RFC: Final = "RFC 7591 section 2"
_OIDC: Final = "OpenID Connect Registration section 2"

MAX_TEXTS: Final = 20
"""Maximum number of values in a list."""

MAX_NAME: Final = 100
"""Maximum length of `client_name` in characters."""

MAX_NUMBER: Final = 10 * 365 * 86400
"""Maximum `default_max_age` in seconds."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of client metadata.

    Args:
        kind: the type of its value: text, texts (a list), uri, uris, number, flag, or keys (a JWK Set).
        default: the value if the member is omitted; None for no default.
        choices: the allowed values of a text, or of each text in a list; empty if any text is allowed.
        column: whether `Client` has a column for it; other members are only stored and returned.
        max_length: maximum number of characters of a text.
        max_items: maximum number of values in a list.
        extension: the meaning of an extension of this server (RFC 7591 section 2 allows extensions); empty for a member
            of the specifications. Responses contain an extension only if it is set.
    """

    name: str
    kind: str
    clause: str
    default: Any = None
    choices: tuple[str, ...] = ()
    column: bool = True
    max_length: int = 500
    max_items: int = MAX_TEXTS
    extension: str = ""

    @property
    def check(self) -> Check:
        """The check that the value is valid."""
        return checks.registry[f"register.{self.name}"]


def _define(name: str, kind: str, clause: str = _RFC, **more: Any) -> Member:
    error = "invalid_redirect_uri" if name == "redirect_uris" else "invalid_client_metadata"
    checks.define(f"register.{name}", clause, error, f"The member {name} is missing or invalid.")
    return Member(name, kind, clause, **more)


_COMBINABLE: Final = frozenset({"client_secret_basic", "client_secret_post"})
"""Authentication methods that a client may combine: they send the same secret."""

_GRANT_TYPES: Final = tuple(grant.grant_type for grant in GRANTS)
_RESPONSE_TYPES: Final = tuple(grant.response_type for grant in GRANTS if grant.response_type)

MEMBERS: Final = (
    # redirect URIs are checked by application_type
    _define("redirect_uris", "texts", max_length=2000),
    # before the single method, which it determines
    _define(
        "token_endpoint_auth_methods",
        "texts",
        choices=CLIENT_AUTH_METHODS,
        extension="All accepted authentication methods; token_endpoint_auth_method is the first. Only "
        "client_secret_basic and client_secret_post can be combined.",
    ),
    _define("token_endpoint_auth_method", "text", default="client_secret_basic", choices=CLIENT_AUTH_METHODS),
    _define("grant_types", "texts", default=("authorization_code",), choices=_GRANT_TYPES),
    _define("response_types", "texts", default=("code",), choices=_RESPONSE_TYPES),
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
    _define(
        "claims_in_id_token",
        "flag",
        "OpenID Connect Core section 5.4",
        default=False,
        extension="ID tokens contain the standard claims of the granted scopes, as UserInfo responses do.",
    ),
)

_REPLACEABLE: Final = frozenset({"grant_types", "response_types"})
"""Lists whose unsupported values are dropped (RFC 7591 section 3.2.1)."""

KEYS_OR_URI = checks.define(
    "register.one_key_set",
    _RFC,
    "invalid_client_metadata",
    "Register jwks or jwks_uri, not both. private_key_jwt and signed request objects require one.",
)
KEY_FITS = checks.define(
    "register.key_fits",
    "RFC 7591 section 3.2.2",
    "invalid_client_metadata",
    "The jwks must have a key for each registered signing algorithm. Keys for the same algorithm need different kids.",
)
CONSISTENT = checks.define(
    "register.consistent",
    "RFC 7591 section 2.1",
    "invalid_client_metadata",
    "Register each grant type together with its response type, or neither.",
)
SECTOR = checks.define(
    "register.sector",
    "OpenID Connect Core section 8.1",
    "invalid_client_metadata",
    "Redirect URIs with several hosts, on loopback, or without https require a sector_identifier_uri. "
    "Its JSON array must list all of them.",
)
NOT_ENCRYPTED = checks.define(
    "register.not_encrypted", _OIDC, "invalid_client_metadata", "Encrypted responses are not supported."
)


def without_omitted(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that count as present: neither null nor empty (RFC 7591 section 2, RFC 7592 section 2.2)."""
    return {name: value for name, value in document.items() if value not in (None, "", [""])}


def read(document: Mapping[str, Any], profile: str, *, exact: bool = False) -> dict[str, Any]:
    """Validate the metadata of a registration, and add the defaults of omitted members.

    Unknown members are ignored, and members that are null or empty count as omitted (`without_omitted`). Grant types,
    response types, and scopes that this server does not support, or that this client may not use, are dropped, as long
    as a usable one remains (RFC 7591 section 3.2.1). No other value is replaced: redirect URIs, keys, authentication
    methods, algorithms, and subject types protect the client or its users.

    Args:
        profile: the profile of the client (`Client.profile`).
        exact: reject such values instead of dropping them.

    Raises:
        OAuthError: invalid_redirect_uri or invalid_client_metadata (RFC 7591 section 3.2.2).
    """
    document = _with_first_method(without_omitted(document))
    metadata: dict[str, Any] = {}
    for member in MEMBERS:
        value = document.get(member.name)
        if value is None:
            value = [*member.default] if isinstance(member.default, tuple) else member.default
        else:
            # unsupported values are dropped below
            shape = replace(member, choices=()) if member.name in _REPLACEABLE and not exact else member
            fault = _FAULTS[member.kind](shape, value)
            message = f"The member {member.name} is {fault}."
            member.check(not fault, expected=member.kind, actual=fault, detail=message, description=message)
        if value is not None:
            metadata[member.name] = value
    encrypted = [name for name in document if name.endswith(("_encrypted_response_alg", "_encryption_alg"))]
    NOT_ENCRYPTED(not encrypted, expected="no encryption", actual=" ".join(encrypted)[:200])
    _check_methods(metadata)
    _check_grants(metadata, exact=exact)
    _check_redirect_uris(metadata)
    _check_scope(metadata, profile, exact=exact)
    _check_signing_algorithm(metadata)
    _check_keys(metadata)
    _check_sector(metadata)
    host = next((urlsplit(uri).hostname for uri in metadata["redirect_uris"]), None) or "Unnamed app"
    metadata.setdefault("client_name", host[:MAX_NAME])
    return metadata


def columns(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the client's columns; omitted members are reset to None (RFC 7592 section 2.2)."""
    values = {member.name: metadata.get(member.name) for member in MEMBERS if member.column}
    return {
        **values,
        "further_metadata": {
            member.name: metadata[member.name] for member in MEMBERS if not member.column and member.name in metadata
        },
    }


def registered_metadata(client: Client) -> dict[str, Any]:
    """Return the registered metadata for a client information response (RFC 7591 section 3.2.1)."""
    values = {
        member.name: getattr(client, member.name)
        for member in MEMBERS
        if member.column and not (member.extension and not getattr(client, member.name))
    }
    return {name: value for name, value in {**values, **client.further_metadata}.items() if value is not None}


def _text_fault(member: Member, value: Any) -> str:
    if not isinstance(value, str):
        return "not a string"
    if not value:
        return "empty"
    if len(value) > member.max_length:
        return f"longer than {member.max_length} characters"
    if not value.isprintable():
        return "a string with control characters"
    return "" if not member.choices or value in member.choices else f"not one of {', '.join(member.choices)}"


def _uri_fault(member: Member, value: Any) -> str:
    """Require https; the lab also allows http on local hosts."""
    if fault := _text_fault(member, value):
        return fault
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return "not a URI"
    if not value.isascii() or any(mark in value for mark in "\"'<>\\ ") or parts.username is not None:
        return "not a URI of ASCII characters without quotes, spaces, and user information"
    secure = is_secure(value, lab=services().settings.lab)
    return "" if secure and parts.hostname and len(parts.hostname) <= MAX_HOST else "not https, or lacks a host"


def _list_fault(fault_of: Callable[[Member, Any], str]) -> Callable[[Member, Any], str]:
    def fault(member: Member, value: Any) -> str:
        if not isinstance(value, list) or len(value) > member.max_items:
            return f"not a list of at most {member.max_items} values"
        return next((f"a list with a value that is {found}" for each in value if (found := fault_of(member, each))), "")

    return fault


def _number_fault(_member: Member, value: Any) -> str:
    is_valid = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER
    return "" if is_valid else f"not a whole number of seconds from 0 to {MAX_NUMBER}"


def _flag_fault(_member: Member, value: Any) -> str:
    return "" if isinstance(value, bool) else "not true or false"


def _keys_fault(_member: Member, value: Any) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
        return "not a JWK Set, an object with a list of keys"
    if any(isinstance(key, dict) and without_omitted(key).keys() & PRIVATE for key in value["keys"]):
        return "a JWK Set with a private key, which is now compromised: generate another key"
    try:
        usable = public_keys(json.dumps(value).encode())
    except (BadJWT, ValueError, RecursionError):
        return "not a JWK Set"
    return "" if usable else "a JWK Set without a usable key (RSA of 2048 bits or more, P-256, or Ed25519)"


_FAULTS: Final[Mapping[str, Callable[[Member, Any], str]]] = {
    "text": _text_fault,
    "texts": _list_fault(_text_fault),
    "uri": _uri_fault,
    "uris": _list_fault(_uri_fault),
    "number": _number_fault,
    "flag": _flag_fault,
    "keys": _keys_fault,
}


def _check(name: str) -> Check:
    return checks.registry[f"register.{name}"]


def auth_methods_fault(methods: Sequence[str], method: str) -> str:
    """Return why a client cannot register these `token_endpoint_auth_methods`, or an empty string.

    Args:
        method: its `token_endpoint_auth_method`.
    """
    if len(methods) > 1 and not {*methods} <= _COMBINABLE:
        return f"only {' and '.join(sorted(_COMBINABLE))} can be combined"
    return "" if methods and methods[0] == method else "the first must be the token_endpoint_auth_method"


def _with_first_method(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document; if it contains only the list, add `token_endpoint_auth_method`, the first method."""
    methods = document.get("token_endpoint_auth_methods")
    first = {"token_endpoint_auth_method": methods[0]} if isinstance(methods, list) and methods else {}
    return {**first, **document}


def _check_methods(metadata: dict[str, Any]) -> None:
    if "token_endpoint_auth_methods" not in metadata:
        return
    methods = [*dict.fromkeys(metadata["token_endpoint_auth_methods"])]
    fault = auth_methods_fault(methods, metadata["token_endpoint_auth_method"])
    message = f"The member token_endpoint_auth_methods is invalid: {fault}."
    check = _check("token_endpoint_auth_methods")
    check(
        not fault,
        expected="methods that can be combined",
        actual=" ".join(methods),
        detail=message,
        description=message,
    )
    metadata["token_endpoint_auth_methods"] = methods


def _check_grants(metadata: dict[str, Any], *, exact: bool) -> None:
    """Keep the grant types that the client may use, and their response types (RFC 7591 section 2.1)."""
    requested, response_types = metadata["grant_types"], metadata["response_types"]
    is_public = metadata["token_endpoint_auth_method"] == "none"
    rows = grants.usable(requested, response_types, is_public=is_public)
    usable = {grant.grant_type for grant in rows}
    with_all = grants.usable(requested, _RESPONSE_TYPES, is_public=is_public)
    unusable = [each for each in requested if each not in {grant.grant_type for grant in with_all}]
    _check("grant_types")(
        bool(usable) and not (exact and unusable),
        expected="a grant type that this client may use",
        actual=" ".join(requested)[:200],
        detail=f"this client may not use: {', '.join(unusable or requested)}"[:300],
        description="The member grant_types has no value that this client may use with its response_types and its "
        f"token_endpoint_auth_method. The server supports: {', '.join(_GRANT_TYPES)}.",
    )
    kept = [each for each in dict.fromkeys(response_types) if each in {grant.response_type for grant in rows}]
    CONSISTENT(
        not exact or (usable == {*requested} and {*kept} == {*response_types}),
        expected="each grant type with its response type",
        otherwise="one without the other",
    )
    metadata["grant_types"] = [each for each in dict.fromkeys(requested) if each in usable]
    metadata["response_types"] = kept


def _check_redirect_uris(metadata: dict[str, Any]) -> None:
    uris = metadata.get("redirect_uris", [])
    required = any(grant.needs_redirect for grant in grants.of_client(metadata["grant_types"]))
    kind, lab = metadata["application_type"], services().settings.lab
    faults = {uri: fault for uri in uris if (fault := redirect_uri_fault(uri, kind, lab=lab))}
    _check("redirect_uris")(
        bool(uris or not required) and not faults,
        expected="at least one redirect URI, each valid under RFC 8252",
        actual=[*faults.values()],
        detail="; ".join(f"{uri[:200]} {fault}" for uri, fault in faults.items())[:300] or "a redirect URI is required",
        description=f"A redirect URI {next(iter(faults.values()), 'is required')}.",
    )
    metadata["redirect_uris"] = [*dict.fromkeys(uris)]


def _check_scope(metadata: dict[str, Any], profile: str, *, exact: bool) -> None:
    """Keep the scopes that the client may request, and default to all of them (RFC 7591 section 2).

    Clients with pairwise subjects get only the scopes of OpenID Connect, because an API identifies the user by the
    account's identifier, which such a client must not learn. Clients without users get only the scopes of APIs.
    """
    known = {*scopes.all_identity_scopes()}
    if metadata["subject_type"] != "pairwise":
        known |= scopes.scopes_of_apis()
    if not any(grant.has_person for grant in grants.of_client(metadata["grant_types"])):
        known -= scopes.requires_person()
    requested = metadata.get("scope", " ".join(sorted(known))).split()
    kept = [scope for scope in dict.fromkeys(requested) if scope in known]
    _check("scope")(
        bool(kept) and not (exact and {*requested} - known),
        expected=" ".join(sorted(known)),
        actual=" ".join(requested)[:200],
        detail=f"unknown scopes: {', '.join(sorted({*requested} - known))}"[:300],
        description="The member scope has no scope that this client may request. The metadata lists all scopes in "
        "scopes_supported. Clients with pairwise subjects may only register OpenID Connect scopes, and clients "
        "without users may not register them.",
    )
    if profile != "openid" and "scope" not in metadata:
        kept = [scope for scope in kept if scope != "offline_access"]
    metadata["scope"] = " ".join(kept)


def _check_keys(metadata: dict[str, Any]) -> None:
    both = "jwks" in metadata and "jwks_uri" in metadata
    needed = metadata["token_endpoint_auth_method"] == "private_key_jwt" or "request_object_signing_alg" in metadata
    missing = needed and "jwks" not in metadata and "jwks_uri" not in metadata
    fault = "both jwks and jwks_uri" if both else "neither jwks nor jwks_uri"
    KEYS_OR_URI(not both and not missing, expected="one of jwks and jwks_uri", otherwise=fault, detail=fault)
    if "jwks" not in metadata:
        return
    # parsed by _keys_fault already, which rejects what is not a JWK Set
    keys = public_keys(json.dumps(metadata["jwks"]).encode())
    for algorithms in _key_algorithms(metadata):
        fits = any(can_verify(keys, algorithm) for algorithm in algorithms)
        message = f"no key for {' or '.join(algorithms)}, or several without different kids"
        KEY_FITS(fits, expected=f"a key for {' or '.join(algorithms)}", otherwise="no such key", detail=message)


def _key_algorithms(metadata: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the algorithms of each kind of JWT that the client signs with its own key."""
    if metadata["token_endpoint_auth_method"] == "private_key_jwt":
        algorithm = metadata.get("token_endpoint_auth_signing_alg")
        yield ASSERTION_ALGORITHMS["private_key_jwt"] if algorithm is None else (algorithm,)
    if "request_object_signing_alg" in metadata:
        yield (metadata["request_object_signing_alg"],)


def _check_signing_algorithm(metadata: dict[str, Any]) -> None:
    algorithm, method = metadata.get("token_endpoint_auth_signing_alg"), metadata["token_endpoint_auth_method"]
    is_allowed = algorithm is None or algorithm in ASSERTION_ALGORITHMS.get(method, ())
    message = "The token_endpoint_auth_signing_alg is not an algorithm of the token_endpoint_auth_method."
    CONSISTENT(is_allowed, expected=f"an algorithm of {method}", actual=algorithm or "none", description=message)


def _owned_host(uri: str) -> str | None:
    """Return the host if it has an owner: https outside loopback, or any http or https host in the lab."""
    parts = urlsplit(uri)
    is_public = parts.scheme == "https" and not is_loopback(uri)
    return parts.hostname if is_public or (services().settings.lab and parts.scheme in {"http", "https"}) else None


def _check_sector(metadata: dict[str, Any]) -> None:
    """Require a `sector_identifier_uri` document that lists the redirect URIs which share a subject.

    Without one, the host of the redirect URIs is the sector. It must then have an owner: any program can listen on
    loopback, and any app can claim a private-use scheme.
    """
    uri = metadata.get("sector_identifier_uri")
    if uri is None:
        hosts = {_owned_host(each) for each in metadata["redirect_uris"]}
        is_sector = metadata["subject_type"] != "pairwise" or (len(hosts) == 1 and None not in hosts)
        SECTOR(
            is_sector, expected="one https host that is not loopback", actual=" ".join(sorted(map(str, hosts)))[:200]
        )
        return
    try:
        listed = json.loads(services().fetcher.get(uri, accept="application/json").body)
    except FetchBusy as error:
        raise error.refusal() from error
    except (FetchError, ValueError, RecursionError) as error:
        raise SECTOR.refusal(f"sector_identifier_uri: {error}"[:300]) from error
    is_complete = isinstance(listed, list) and all(each in listed for each in metadata["redirect_uris"])
    SECTOR(is_complete, expected="every redirect URI", otherwise="not all of them")

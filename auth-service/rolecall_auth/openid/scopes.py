"""Scopes of protected resources, and scopes for claims about the user (OpenID Connect Core section 5.4)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from rolecall import checks
from rolecall.vocabulary import OPENID_SCOPES
from rolecall_auth.models.claim_scope import ClaimScope
from rolecall_auth.models.client import Client
from rolecall_auth.models.consent import normal_scope
from rolecall_auth.models.resource import Resource
from rolecall_auth.services import services

TARGET = checks.define(
    "authorize.resource",
    "RFC 8707 section 2",
    "invalid_target",
    "The resource is unknown, or several resources match and the request must name one.",
)
SCOPE = checks.define(
    "authorize.scope",
    "RFC 6749 section 3.3",
    "invalid_scope",
    "The scope exceeds what the resource offers or the client may request.",
)

CLAIMS: Final[Mapping[str, tuple[str, ...]]] = {
    "profile": (
        "name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
        "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at",
    ),
    "email": ("email", "email_verified"),
    "address": ("address",),
    "phone": ("phone_number", "phone_number_verified"),
}  # fmt: skip
"""The standard claims of each scope (OpenID Connect Core sections 5.1 and 5.4)."""

_MAX_LISTED: Final = 300
"""Maximum length of the scopes that an error lists, in characters."""

_MAX_VALUE: Final = 100
"""Maximum length of an unknown value in an error, in characters."""

_SENTENCES: Final[Mapping[str, str]] = {
    "openid": "confirm who you are",
    "profile": "see your profile, such as your name, picture, birthday, and language",
    "email": "see your email address",
    "address": "see your postal address",
    "phone": "see your phone number",
    "offline_access": "keep this access while you are not using the app",
}


def claim_scopes() -> Mapping[str, ClaimScope]:
    """Return the scopes for claims that no specification defines, such as groups, by scope value."""
    return services().registry.claim_scopes()


def all_identity_scopes() -> tuple[str, ...]:
    """Return the scopes of OpenID Connect, and those for claims that no specification defines."""
    return (*OPENID_SCOPES, *claim_scopes())


def requires_person() -> set[str]:
    """Return the scopes that only a person can allow: the identity scopes, except custom ones that an API defines."""
    return {*OPENID_SCOPES, *(claim_scopes().keys() - scopes_of_apis())}


def identity_scopes(scope: str) -> set[str]:
    """Return the values of a scope that concern the person's identity; empty without `openid`.

    Without `openid`, such a value can only be the scope of an API.
    """
    values = set(scope.split())
    return values & set(all_identity_scopes()) if "openid" in values else set()


def narrow(client: Client, scope: str) -> str:
    """Return the part of a granted scope that the client is still registered for.

    A client with pairwise subjects gets only identity scopes, because APIs identify people by their public subject,
    which must be hidden from this client (OpenID Connect Core section 8.1).
    """
    registered = set(client.scope.split())
    if client.subject_type == "pairwise":
        registered &= set(all_identity_scopes())
    return " ".join(each for each in scope.split() if each in registered)


def values_of(scope: str) -> set[str]:
    """Return the values of a scope; `offline_access` means nothing without `openid`, so it is left out then."""
    values = set(scope.split())
    return values if "openid" in values else values - {"offline_access"}


def scopes_of_apis() -> set[str]:
    """Return the scopes of all resources."""
    return {value for resource in services().registry.resources() for value in resource.scopes}


def requested(client: Client, scope: str | None, identifier: str | None) -> tuple[str, Resource]:
    """Return the scope that a person may grant for a request, and the resource for its tokens.

    Values that do not exist, or that the client is not registered for, are rejected (RFC 6749 section 3.3), but ignored
    in the OpenID Connect requests of clients with the profile `openid` (OpenID Connect Core section 3.1.2.1). Without a
    scope, the client requests all API scopes that it is registered for.

    Args:
        identifier: the resource that the request names, if any.

    Raises:
        OAuthError: invalid_target or invalid_scope.
    """
    values = values_of(scope or "")
    has_public_subject = client.subject_type != "pairwise"
    narrowed_scope = set(narrow(client, client.scope).split())
    registered = narrowed_scope if has_public_subject or "openid" in values else set()
    existing, every_identity = scopes_of_apis(), set(all_identity_scopes())
    alternatives = narrowed_scope & (existing | every_identity)
    if scope is None:
        identity = every_identity if "openid" in registered else set()
        return narrowed(registered & existing - identity, identifier, alternatives)
    if "openid" in values:
        existing |= every_identity
    allowed = values & registered & existing
    if client.profile != "openid" or "openid" not in allowed:
        SCOPE(
            allowed == values,
            expected=" ".join(sorted(registered)),
            actual=" ".join(sorted(values)),
            description=unknown_scope(values - allowed, alternatives) if allowed != values else None,
        )
    return narrowed(allowed, identifier, alternatives)


def narrowed(values: set[str], identifier: str | None, registered: Collection[str]) -> tuple[str, Resource]:
    """Return the part of a valid scope that belongs to the named (or only) resource, and this resource.

    Identity scopes belong to the UserInfo endpoint, which accepts every token with such a scope.

    Args:
        registered: the scope that the client may request instead, for the error.

    Raises:
        OAuthError: invalid_target, or invalid_scope if nothing remains, or if the scope belongs to several resources.
    """
    registry = services().registry
    identity = identity_scopes(" ".join(values))
    of_apis, named = values - identity, None
    if identifier is not None:
        named = TARGET.require(registry.resource(identifier), expected="a known resource", actual=identifier)
        of_apis &= named.scopes.keys()
        usable = {*named.scopes, *(all_identity_scopes() if "openid" in registered else ())}
        registered = [value for value in registered if value in usable]
    description = None
    if not (identity or of_apis):
        fault = "The request has no scope that exists at this resource." if named else "The request has no scope."
        description = f"{fault} {_alternatives(registered)}"
    SCOPE(
        description is None,
        expected=" ".join(sorted(registered)),
        actual=" ".join(sorted(values)) or "no scope",
        description=description,
    )
    if named is None:
        named = _only_resource(of_apis) if of_apis else registry.userinfo
    return normal_scope(" ".join(identity | of_apis)), named


def _only_resource(of_apis: set[str]) -> Resource:
    candidates = [resource for resource in services().registry.resources() if of_apis <= resource.scopes.keys()]
    SCOPE(
        bool(candidates),
        expected="scopes of one resource",
        actual=" ".join(sorted(of_apis)),
        description="The scopes belong to several resources. Name one of these in the parameter resource.",
    )
    TARGET(len(candidates) <= 1, expected="one resource that has the scope", actual=len(candidates))
    return candidates[0]


def unknown_scope(unknown: Collection[str], allowed: Collection[str]) -> str:
    """Return the description of an error for values that a client may not request, of limited length."""
    quoted = (f"`{value if len(value) <= _MAX_VALUE else value[:_MAX_VALUE] + '...'}`" for value in sorted(unknown))
    return f"Unknown scope {_listed(quoted)}. {_alternatives(allowed)}"


def _alternatives(allowed: Collection[str]) -> str:
    listed = _listed(sorted(allowed))
    return f"This client may request: {listed}." if listed else "This client may not request any scope here."


def _listed(values: Iterable[str]) -> str:
    text = ", ".join(values)
    return text if len(text) <= _MAX_LISTED else f"{text[:_MAX_LISTED].rpartition(', ')[0]}, and others"


def by_resource(scope: str, resource: str) -> dict[str, str]:
    """Return the scope at the resource and, with `openid`, at the UserInfo endpoint, by resource identifier."""
    identity, userinfo = identity_scopes(scope), services().registry.userinfo.identifier
    parts = {
        resource: " ".join(each for each in scope.split() if each not in identity or resource == userinfo),
        userinfo: " ".join(each for each in scope.split() if each in identity),
    }
    return {identifier: part for identifier, part in parts.items() if part}


def sentences(scope: str, resource_sentences: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return each value of a scope with a sentence for the user about what it allows.

    Without `openid`, a value that both an API and a claim scope define gets both sentences, because it allows both.

    Args:
        resource_sentences: the sentences of the resources, by scope value.
    """
    identity, custom = identity_scopes(scope), claim_scopes()
    return [
        *((value, _SENTENCES[value]) for value in OPENID_SCOPES if value in identity),
        *((value, custom[value].description) for value in scope.split() if value in custom),
        *((value, resource_sentences.get(value, value)) for value in scope.split() if value not in identity),
    ]


def standard_claims_of(scope: str) -> set[str]:
    """Return the names of the standard claims that a scope contains."""
    return {name for value in scope.split() for name in CLAIMS.get(value, ())}


def custom_claims_of(scope: str) -> set[str]:
    """Return the names of the claims that the claim scopes in a scope contain."""
    custom = claim_scopes()
    if not custom:
        return set()
    return {name for value in scope.split() if value in custom for name in custom[value].claims}


def claims_of(scope: str) -> set[str]:
    """Return the names of all claims that a scope contains."""
    return standard_claims_of(scope) | custom_claims_of(scope)


def scopes_of_claims(names: set[str], client: Client) -> set[str]:
    """Return the scopes that contain these claims and that the client is registered for."""
    return {scope for scope in client.scope.split() if names & claims_of(scope)} if names else set()

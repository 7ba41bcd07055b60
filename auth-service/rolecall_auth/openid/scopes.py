"""Scopes of protected resources, and scopes for claims about the user (OpenID Connect Core section 5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall import checks
from rolecall.vocabulary import OPENID_SCOPES
from rolecall_auth.models.claim_scope import ClaimScope
from rolecall_auth.models.client import Client
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

_SENTENCES: Final[Mapping[str, str]] = {
    "openid": "know that it is you",
    "profile": "see your profile, such as your names, picture, birthday, and language",
    "email": "see your email address",
    "address": "see your postal address",
    "phone": "see your phone number",
    "offline_access": "do this while you are away as well",
}


def claim_scopes() -> Mapping[str, ClaimScope]:
    """Return the scopes for claims that no specification defines, such as groups, by scope value."""
    return services().registry.claim_scopes()


def all_identity_scopes() -> tuple[str, ...]:
    """Return the scopes of OpenID Connect, and those for claims that no specification defines."""
    return (*OPENID_SCOPES, *claim_scopes())


def requires_person() -> set[str]:
    """Return the scopes that only a person can allow: the identity scopes, without custom ones that an API defines."""
    of_resources = {scope for resource in services().registry.resources() for scope in resource.scopes}
    return {*OPENID_SCOPES, *(claim_scopes().keys() - of_resources)}


def identity_scopes(scope: str) -> set[str]:
    """Return the values of a scope that concern the person's identity; empty without `openid`.

    Without `openid`, such a value can only be the scope of an API.
    """
    values = set(scope.split())
    return values & set(all_identity_scopes()) if "openid" in values else set()


def narrow(client: Client, scope: str) -> str:
    """Return the part of a granted scope that the client is still registered for."""
    registered = set(client.scope.split())
    if client.subject_type == "pairwise":
        registered &= set(all_identity_scopes())
    return " ".join(each for each in scope.split() if each in registered)


def resource_for(scope: str, identifier: str | None) -> Resource:
    """Return the resource for tokens of this scope: the named one, or the only one that has the whole scope.

    Identity scopes belong to the UserInfo endpoint, which accepts every token with such a scope.

    Raises:
        OAuthError: invalid_target or invalid_scope.
    """
    registry = services().registry
    identity = identity_scopes(scope)
    resource_scopes = set(scope.split()) - identity
    if identity and not resource_scopes and identifier in {None, registry.userinfo.identifier}:
        return registry.userinfo
    if identifier is not None:
        candidates = [TARGET.require(registry.resource(identifier), expected="a known resource", actual=identifier)]
    else:
        candidates = [resource for resource in registry.resources() if resource_scopes <= set(resource.scopes)]
        TARGET(len(candidates) <= 1, expected="one resource that has the scope", actual=len(candidates))
    has_scope = bool(resource_scopes or identity)
    is_offered = has_scope and bool(candidates) and resource_scopes <= set(candidates[0].scopes)
    SCOPE(is_offered, expected="scopes of one resource", actual=" ".join(sorted(resource_scopes)))
    return candidates[0]


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

    A value without `openid` that an API and a claim scope define has both sentences, because it allows both.

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
    return {name for value in scope.split() if value in custom for name in custom[value].claims}


def claims_of(scope: str) -> set[str]:
    """Return the names of all claims that a scope contains."""
    return standard_claims_of(scope) | custom_claims_of(scope)


def scopes_of_claims(names: set[str], client: Client) -> set[str]:
    """Return the scopes that contain these claims and that the client is registered for."""
    return {scope for scope in client.scope.split() if names & claims_of(scope)}

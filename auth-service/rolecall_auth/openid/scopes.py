"""What a scope is for: a protected resource, or what is known of the person (OpenID Connect Core section 5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall import checks
from rolecall.vocabulary import OPENID_SCOPES
from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource
from rolecall_auth.services import services

TARGET = checks.define(
    "authorize.resource", "RFC 8707 section 2", "invalid_target", "There is no such resource, or name one: several fit."
)
SCOPE = checks.define(
    "authorize.scope", "RFC 6749 section 3.3", "invalid_scope", "The scope is more than the resource or the client has."
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

KNOWN: Final = frozenset(name for names in CLAIMS.values() for name in names)

_SENTENCES: Final[Mapping[str, str]] = {
    "openid": "know that it is you",
    "profile": "see your profile: your names, picture, birthday, language and the like",
    "email": "see your email address",
    "address": "see your postal address",
    "phone": "see your phone number",
    "offline_access": "do this while you are away as well",
}


def of_person(scope: str) -> set[str]:
    """Those values of a scope that are about the person; none without `openid`."""
    wanted = set(scope.split())
    return wanted & set(OPENID_SCOPES) if "openid" in wanted else set()


def resource_for(scope: str, identifier: str | None) -> Resource:
    """The one resource that tokens of this scope are for: the named one, or the only one that has all of it.

    What is about the person is told at userinfo, which every token of such a scope is good for as well.

    Raises:
        OAuthError: invalid_target or invalid_scope.
    """
    registry = services().registry
    about_person = of_person(scope)
    wanted = set(scope.split()) - about_person
    if about_person and not wanted and identifier in {None, registry.userinfo.identifier}:
        return registry.userinfo
    if identifier is not None:
        named = registry.resource(identifier)
        TARGET(named is not None, expected="a known resource", actual=identifier)
        candidates = [] if named is None else [named]
    else:
        candidates = [resource for resource in registry.resources() if wanted <= set(resource.scopes)]
        TARGET(len(candidates) <= 1, expected="one resource that has the scope", actual=len(candidates))
    some = bool(wanted or about_person)
    fitting = some and bool(candidates) and wanted <= set(candidates[0].scopes)
    SCOPE(fitting, expected="scopes of one resource", actual=" ".join(sorted(wanted)))
    return candidates[0]


def sentences(scope: str, of_resources: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each value with what it allows, for people; those of resources as they tell it."""
    about_person = of_person(scope)
    return [
        *((value, _SENTENCES[value]) for value in OPENID_SCOPES if value in about_person),
        *((value, of_resources.get(value, value)) for value in scope.split() if value not in about_person),
    ]


def scopes_of_claims(names: set[str], client: Client) -> set[str]:
    """The scopes that stand for these claims, as far as the client is registered for them."""
    registered = set(client.scope.split())
    return {scope for scope, claims in CLAIMS.items() if scope in registered and names & set(claims)}

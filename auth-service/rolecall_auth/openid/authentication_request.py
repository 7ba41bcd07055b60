"""Authentication requests: prompt, max_age, hints, and claims (OpenID Connect Core section 3.1.2.1)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from rolecall import checks, clock
from rolecall_auth.models.client import Client
from rolecall_auth.models.consent import normal_scope
from rolecall_auth.models.interaction import Interaction
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.session import ACR, SignIn
from rolecall_auth.openid import id_tokens, scopes

PROMPTS: Final = ("none", "login", "consent", "select_account")
RESPONSE_MODES: Final = ("query", "form_post")

PROMPT = checks.define(
    "authorize.prompt",
    "OpenID Connect Core section 3.1.2.1",
    "invalid_request",
    "The prompt is unknown, or none is combined with other values.",
)
RESPONSE_MODE = checks.define(
    "authorize.response_mode",
    "OAuth 2.0 Form Post Response Mode section 2",
    "invalid_request",
    "The response_mode must be query, or form_post with an http or https redirect URI.",
)
CLAIMS = checks.define(
    "authorize.claims",
    "OpenID Connect Core section 5.5",
    "invalid_request",
    "The claims parameter must be a JSON object of claims requests.",
)
HINT = checks.define(
    "authorize.id_token_hint",
    "OpenID Connect Core section 3.1.2.1",
    "invalid_request",
    "The id_token_hint is not an ID token that this server issued to this client.",
)
SIGNED_IN = checks.define(
    "authorize.login_required",
    "OpenID Connect Core section 3.1.2.6",
    "login_required",
    "No user is signed in as the request requires, and prompt=none forbids asking.",
)
CONSENTED = checks.define(
    "authorize.consent_required",
    "OpenID Connect Core section 3.1.2.6",
    "consent_required",
    "The user has not consented, and prompt=none forbids asking.",
)
MET = checks.define(
    "authorize.acr",
    "OpenID Connect Core section 5.5.1.1",
    "unmet_authentication_requirements",
    "The requested acr values are essential, but not supported.",
)

MIN_MAX_AGE: Final = 10.0
"""Seconds for which a sign-in during the interaction satisfies any `max_age`, even 0."""

MAX_CLAIMS: Final = 50
"""Maximum number of claims in each member of the claims parameter."""


@dataclass(frozen=True, slots=True)
class AuthenticationRequest:
    """The validated parameters of an authentication request.

    Args:
        max_age: maximum number of seconds since the sign-in; None for no limit.
        claims: the `claims` parameter, with the members `userinfo` and `id_token`.
        acr_values: the requested authentication contexts, in order of preference.
        subjects: the accounts that a hint or a claims request allows; None for any account.
    """

    prompts: frozenset[str] = frozenset()
    max_age: int | None = None
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    acr_values: tuple[str, ...] = ()
    subjects: frozenset[str] | None = None

    @property
    def silent(self) -> bool:
        """Whether the user must not see a page."""
        return "none" in self.prompts

    def claims_within(self, scope: str) -> dict[str, list[str]]:
        """Return the names in the `claims` parameter, by member, that belong to this scope."""
        if not self.claims:
            return {}
        names = scopes.claims_of(scope)
        supported = {member: sorted(names & requests.keys()) for member, requests in self.claims.items()}
        return {member: within for member, within in supported.items() if within}

    @property
    def acr(self) -> str | None:
        """The authentication context to report to the client: a requested and supported one, or None."""
        return ACR if ACR in self.acr_values else None

    def scope_of_claims(self, client: Client) -> set[str]:
        """Return the scopes that contain the individually requested claims; the user must consent to these too."""
        return scopes.scopes_of_claims({name for requests in self.claims.values() for name in requests}, client)

    def accepts(self, sign_in: SignIn, interaction: Interaction | None) -> bool:
        """Whether this sign-in is recent enough, and happened or was selected during the interaction if required.

        `max_age` still applies when the person has decided. A sign-in during the interaction counts for at least
        `MIN_MAX_AGE`, so that the response can follow it.
        """
        is_new = interaction is not None and sign_in.auth_time >= interaction.asked_at
        age = clock.now() - sign_in.auth_time
        if self.max_age is not None and age > (max(self.max_age, MIN_MAX_AGE) if is_new else self.max_age):
            return False
        if is_new:
            return True
        if "login" in self.prompts:
            return False
        is_selected = interaction is not None and interaction.chosen == sign_in.user_id
        if "select_account" in self.prompts and not is_selected:
            return False
        return self.allows_user(sign_in)

    def allows_user(self, sign_in: SignIn) -> bool:
        """Whether the request allows this user."""
        return self.subjects is None or sign_in.user_id in self.subjects


def read(client: Client, parameters: dict[str, str]) -> AuthenticationRequest:
    """Read an authentication request from validated parameters and the client's registered defaults.

    Raises:
        OAuthError: invalid_request, or unmet_authentication_requirements.
    """
    prompts = frozenset(parameters.get("prompt", "").split())
    is_valid = prompts <= set(PROMPTS) and not ("none" in prompts and len(prompts) > 1)
    PROMPT(is_valid, expected=" or ".join(PROMPTS), actual=" ".join(sorted(prompts)))
    claims = _claims(parameters.get("claims"))
    essential = _essential_acr_values(claims)
    MET(not essential or ACR in essential, expected=ACR, actual=" ".join(essential)[:200])
    acr_values = essential or tuple(parameters.get("acr_values", "").split()) or tuple(client.default_acr_values)
    max_age = parameters.get("max_age")
    return AuthenticationRequest(
        prompts=prompts,
        max_age=client.default_max_age if max_age is None else int(max_age),
        claims=claims,
        acr_values=acr_values,
        subjects=_subjects(client, parameters.get("id_token_hint"), claims),
    )


def requested_scopes(
    client: Client, parameters: dict[str, str], authentication: AuthenticationRequest
) -> tuple[str, str, Resource]:
    """Return the scope of a request, the scope that the user must consent to, and the resource for its tokens.

    The second includes the scopes of individually requested claims. `offline_access` needs no `prompt=consent`, because
    the consent page names it, and only a remembered consent that includes it counts (section 11). It is ignored for
    clients without the refresh token grant.

    Raises:
        OAuthError: invalid_target or invalid_scope.
    """
    scope, resource = scopes.requested(client, parameters.get("scope"), parameters.get("resource"))
    if not client.check_grant_type("refresh_token"):
        scope = " ".join(value for value in scope.split() if value != "offline_access")
    claim_scopes = authentication.scope_of_claims(client) if scopes.identity_scopes(scope) else set()
    return scope, normal_scope(" ".join([scope, *claim_scopes])), resource


def _claims(text: str | None) -> dict[str, dict[str, Any]]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CLAIMS.refusal(type(error).__name__) from error
    members = {}
    if isinstance(value, dict):
        # a null counts as omitted
        members = {name: {} if value.get(name) is None else value[name] for name in ("userinfo", "id_token")}
    is_valid = bool(members) and all(map(_is_claims_request, members.values()))
    claims = CLAIMS.require(
        members if is_valid else None, expected="a JSON object of claims requests", otherwise="something else"
    )
    # these values decide who may sign in, and how; values of other types could never match
    values = [each for name in ("acr", "sub") for each in _values(claims["id_token"].get(name) or {})]
    is_text = all(isinstance(each, str) for each in values)
    CLAIMS(is_text, expected="strings for acr and sub", otherwise="something else")
    return claims


def _is_claims_request(member: Any) -> bool:
    return (
        isinstance(member, dict)
        and len(member) <= MAX_CLAIMS
        and all(each is None or isinstance(each, dict) for each in member.values())
    )


def _values(claim_request: dict[str, Any]) -> list[Any]:
    """Return the values, one of which the claim must have (OpenID Connect Core section 5.5.1)."""
    values = claim_request.get("values", [])
    return [
        *(values if isinstance(values, list) else [None]),
        *([claim_request["value"]] if "value" in claim_request else []),
    ]


def _essential_acr_values(claims: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """Return the values of an essential `acr` claim; empty if it is not requested as essential."""
    claim_request = claims.get("id_token", {}).get("acr") or {}
    values = claim_request.get("values") or ([claim_request["value"]] if "value" in claim_request else [])
    if not claim_request.get("essential") or not isinstance(values, list):
        return ()
    return tuple(value for value in values if isinstance(value, str))


def _subjects(client: Client, hint: str | None, claims: dict[str, dict[str, Any]]) -> frozenset[str] | None:
    """Return the accounts that the hint or the claims request names by their `sub`; None for any account."""
    subjects = set(_values(claims.get("id_token", {}).get("sub") or {}))
    if hint is not None:
        hinted = HINT.require(
            id_tokens.subject_of_hint(client, hint),
            expected="an ID token that this server issued to this client",
            otherwise="something else",
        )
        CLAIMS(
            not subjects or hinted in subjects,
            expected="the sub of the hint",
            otherwise="another sub",
            description="The id_token_hint and the claims parameter name different users.",
        )
        subjects = {hinted}
    accounts = (id_tokens.account_for(client, each) for each in subjects)
    return frozenset(each for each in accounts if each is not None) if subjects else None

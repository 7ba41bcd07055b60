"""What an authorization request wants of the sign-in: prompt, max_age, hints, claims (OpenID Connect Core 3.1.2.1)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from rolecall import checks, clock
from rolecall_auth.models.client import Client
from rolecall_auth.models.consent import normal_scope
from rolecall_auth.models.interaction import Interaction
from rolecall_auth.models.session import ACR, SignIn
from rolecall_auth.openid import id_tokens, scopes

PROMPTS: Final = ("none", "login", "consent", "select_account")
RESPONSE_MODES: Final = ("query", "form_post")

PROMPT = checks.define(
    "authorize.prompt",
    "OpenID Connect Core section 3.1.2.1",
    "invalid_request",
    "The prompt is unknown, or none stands beside others.",
)
RESPONSE_MODE = checks.define(
    "authorize.response_mode",
    "OAuth 2.0 Form Post Response Mode section 2",
    "invalid_request",
    "The response_mode is query, or form_post for a redirect URI of http or https.",
)
CLAIMS = checks.define(
    "authorize.claims",
    "OpenID Connect Core section 5.5",
    "invalid_request",
    "The claims parameter is not a JSON object of claims requests.",
)
HINT = checks.define(
    "authorize.id_token_hint",
    "OpenID Connect Core section 3.1.2.1",
    "invalid_request",
    "The id_token_hint is no ID token of this server for this client.",
)
SIGNED_IN = checks.define(
    "authorize.login_required",
    "OpenID Connect Core section 3.1.2.6",
    "login_required",
    "Nobody is signed in who would do, and the person must not be asked.",
)
CONSENTED = checks.define(
    "authorize.consent_required",
    "OpenID Connect Core section 3.1.2.6",
    "consent_required",
    "The person has not allowed this, and must not be asked.",
)
MET = checks.define(
    "authorize.acr",
    "OpenID Connect Core section 5.5.1.1",
    "unmet_authentication_requirements",
    "The sign-in that is essential to the client cannot be had here.",
)

MAX_CLAIMS: Final = 50
"""Claims that may be asked for in one place."""


@dataclass(frozen=True, slots=True)
class AuthenticationRequest:
    """The parameters, validated.

    Args:
        max_age: seconds since the sign-in at most; None when any will do.
        claims: the `claims` parameter; members `userinfo` and `id_token`.
        acr_values: the kinds of sign-in that are wanted, the best first.
        subjects: the accounts of which one must be signed in, when a hint or a claims request names any.
    """

    prompts: frozenset[str] = frozenset()
    max_age: int | None = None
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    acr_values: tuple[str, ...] = ()
    subjects: frozenset[str] | None = None

    @property
    def silent(self) -> bool:
        """Whether the person must not see a page."""
        return "none" in self.prompts

    @property
    def requested_claims(self) -> dict[str, list[str]]:
        """Those of the claims asked for that are known at all, by place, to be kept with what is given."""
        known = {place: sorted(scopes.KNOWN & members.keys()) for place, members in self.claims.items()}
        return {place: names for place, names in known.items() if names}

    @property
    def acr(self) -> str | None:
        """The kind of sign-in to tell the client: one that it asked for and that there is."""
        return ACR if ACR in self.acr_values else None

    def scope_of_claims(self, client: Client) -> set[str]:
        """The scopes that stand for the single claims that are asked for; the person is asked about these too."""
        return scopes.scopes_of_claims({name for members in self.claims.values() for name in members}, client)

    def accepts(self, who: SignIn, interaction: Interaction | None) -> bool:
        """Whether this sign-in is recent enough and chosen, for who waits since the interaction began."""
        if interaction is not None and who.auth_time >= interaction.asked_at:
            return True
        if "login" in self.prompts or (self.max_age is not None and clock.now() - who.auth_time > self.max_age):
            return False
        chosen = interaction is not None and interaction.chosen == who.user_id
        if "select_account" in self.prompts and not chosen:
            return False
        return self.means(who)

    def means(self, who: SignIn) -> bool:
        """Whether the request may be answered with this person."""
        return self.subjects is None or who.user_id in self.subjects


def read(client: Client, parameters: dict[str, str]) -> AuthenticationRequest:
    """From the clean parameters, and what the client has registered as defaults.

    Raises:
        OAuthError: invalid_request, or unmet_authentication_requirements.
    """
    prompts = frozenset(parameters.get("prompt", "").split())
    good = prompts <= set(PROMPTS) and not ("none" in prompts and len(prompts) > 1)
    PROMPT(good, expected=" or ".join(PROMPTS), actual=" ".join(sorted(prompts)))
    claims = _claims(parameters.get("claims"))
    essential = _acr(claims)
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


def scopes_asked(client: Client, parameters: dict[str, str], wanted: AuthenticationRequest) -> tuple[str, str]:
    """The scope of a request, and what the person has to allow for it: single claims count as their scope.

    `offline_access` without `prompt=consent`, or for a client without refresh tokens, is ignored (section 11).
    """
    scope = normal_scope(client.get_allowed_scope(parameters.get("scope")) or "")
    about_person = scopes.of_person(scope)
    if "offline_access" in about_person and not (
        "consent" in wanted.prompts and client.check_grant_type("refresh_token")
    ):
        scope = " ".join(value for value in scope.split() if value != "offline_access")
    further = wanted.scope_of_claims(client) if about_person else set()
    return scope, normal_scope(" ".join([scope, *further]))


def _claims(text: str | None) -> dict[str, dict[str, Any]]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CLAIMS.refusal(type(error).__name__) from error
    places = {place: value.get(place, {}) for place in ("userinfo", "id_token")} if isinstance(value, dict) else None
    good = places is not None and all(
        isinstance(members, dict)
        and len(members) <= MAX_CLAIMS
        and all(each is None or isinstance(each, dict) for each in members.values())
        for members in places.values()
    )
    CLAIMS(good, expected="a JSON object of claims requests", otherwise="something else")
    assert places is not None
    # what decides who may sign in, and how, is text; anything else would be a wish that nobody hears
    wanted = [each for name in ("acr", "sub") for each in _values(places["id_token"].get(name) or {})]
    CLAIMS(all(isinstance(each, str) for each in wanted), expected="text for acr and sub", otherwise="something else")
    return places


def _values(asked: dict[str, Any]) -> list[Any]:
    """The values of which a claim must have one (OpenID Connect Core section 5.5.1)."""
    values = asked.get("values", [])
    return [*(values if isinstance(values, list) else [None]), *([asked["value"]] if "value" in asked else [])]


def _acr(claims: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """The kinds of sign-in without which the client wants none."""
    asked = claims.get("id_token", {}).get("acr") or {}
    values = asked.get("values") or ([asked["value"]] if "value" in asked else [])
    if not asked.get("essential") or not isinstance(values, list):
        return ()
    return tuple(value for value in values if isinstance(value, str))


def _subjects(client: Client, hint: str | None, claims: dict[str, dict[str, Any]]) -> frozenset[str] | None:
    """The accounts that are meant; their identifiers are those that this client knows them by."""
    wanted = set(_values(claims.get("id_token", {}).get("sub") or {}))
    if hint is not None:
        hinted = id_tokens.subject_of_hint(client, hint)
        HINT(hinted is not None, expected="an ID token of ours for this client", otherwise="something else")
        told = "The id_token_hint is of another person than the claims parameter wants."
        CLAIMS(not wanted or hinted in wanted, expected="the sub of the hint", otherwise="another", description=told)
        wanted = {hinted}
    accounts = (id_tokens.account_of(client, each) for each in wanted)
    return frozenset(each for each in accounts if each is not None) if wanted else None

"""The client's sign-in at providers that make a mistake on purpose, each of which the client must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, wraps
from typing import Any, Final

from flask import abort, current_app

from rolecall.http import HttpClient
from rolecall_client.flow import Context, Flow
from rolecall_client.flows import sign_in
from rolecall_client.issuer import AuthorizationServer
from rolecall_client.services import services
from rolecall_client.settings import Settings
from rolecall_lab.catalog.entry import BAD_ID_TOKEN, CODE, Entry
from rolecall_lab.mistakes.alterations import TOKEN_RULE
from rolecall_lab.mistakes.table import ALTERATIONS
from rolecall_lab.settings import LabSettings

_SECRET: Final = "lab-only-secret-of-tally-at-the-mistaken-provider"

_SHOWN: Final = {
    "id_token_other_client": "aud of another client in the ID token",
    "id_token_other_issuer": "iss of another issuer in the ID token",
    "id_token_no_nonce": "Missing nonce in the ID token",
    "id_token_other_nonce": "nonce of another request in the ID token",
    "id_token_unsigned": "alg=none in the ID token (no signature)",
    "id_token_public_key_as_secret": "alg=HS256 with the public key as the secret",
    "id_token_forged": "kid of a published key, signed with another key",
    "id_token_changed": "ID token changed after signing",
    "id_token_expired": "exp in the past in the ID token",
    "id_token_other_hash": "at_hash of another access token",
    "keys_short": "RSA key of 1,024 bits",
    "response_other_issuer": "iss of another server in the response (mix-up)",
    "token_type_DPoP": "token_type=DPoP in the response",
    "userinfo_other_subject": "sub of another user in the userinfo response",
}
"""The alterations that the catalog shows, with their titles."""


def entry(name: str, title: str) -> Entry:
    """Return the entry of a sign-in at the provider with this alteration."""
    alteration = ALTERATIONS[name]
    rule = alteration.refusal.removeprefix(TOKEN_RULE)
    noticed = f"the check `{alteration.refusal}`" if rule != alteration.refusal else f"the error `{alteration.refusal}`"
    return Entry(
        f"mistake_{name.lower()}",
        sign_in,
        title,
        "A provider makes this mistake on purpose, and the client must refuse to sign the user in.",
        f"The client's own sign-in runs against a small provider of the lab, one of whose responses is altered. "
        f"It ends with {noticed} ({alteration.clause}). Your sign-in to Tally does not change.",
        alteration.clause,
        _expected(alteration.refusal),
        base=sign_in,
        own_flow=_flow(name, title, alteration.clause),
    )


def _expected(refusal: str) -> tuple[str, ...]:
    if refusal.startswith(TOKEN_RULE):
        return (CODE, BAD_ID_TOKEN)
    return {
        "mixed_up": ("mixed_up",),
        "invalid_token_response": (CODE, "invalid_token_response"),
        "another_subject": (CODE, "200", "another_subject"),
    }[refusal]


def _flow(name: str, title: str, clause: str) -> Flow:
    """Return the client's sign-in, whose steps use the mistaken provider instead of the authorization server."""

    def at_provider(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(context: Context, *arguments: Any) -> Any:
            settings = context.settings = _settings(name)
            server = _server(settings)
            context.metadata, context.key = server.metadata, server.key
            return function(context, *arguments)

        return call

    steps = tuple(
        replace(step, build=at_provider(step.build), handle=at_provider(step.handle)) for step in sign_in.FLOW.steps
    )
    return Flow(f"mistake_{name.lower()}", title, clause, steps)


def _settings(name: str) -> Settings:
    lab: LabSettings = current_app.extensions["catalog"]
    if lab.mistakes_url is None:
        abort(404)
    inside = lab.mistakes_backchannel_url
    return replace(
        services().settings,
        issuer=f"{lab.mistakes_url}/{name}",
        backchannel_url=f"{inside}/{name}" if inside else None,
        client_id="tally",
        client_secret=_SECRET,
        client_auth_method="client_secret_basic",
        id_token_signed_response_alg="RS256",
    )


_http: Final = cache(HttpClient)


def _server(settings: Settings) -> AuthorizationServer:
    servers: dict[str, AuthorizationServer] = current_app.extensions.setdefault("mistaken_servers", {})
    return servers.setdefault(settings.issuer, AuthorizationServer(settings, _http()))


ENTRIES: Final = tuple(entry(name, title) for name, title in _SHOWN.items())

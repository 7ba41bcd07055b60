"""Authorization server metadata (RFC 8414 section 2), generated from the registries."""

from __future__ import annotations

import json
from operator import is_
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from flask import current_app, request
from flask.typing import ResponseReturnValue

from rolecall.vocabulary import CODE_CHALLENGE_METHOD
from rolecall.web.documents import Document
from rolecall_auth.clients.metadata import MEMBERS
from rolecall_auth.models.session import ACR
from rolecall_auth.openid import id_tokens, scopes
from rolecall_auth.openid.authentication_request import PROMPTS, RESPONSE_MODES
from rolecall_auth.parameters import BY_ENDPOINT
from rolecall_auth.services import services

_CHOICES: Final = {member.name: list(member.choices) for member in MEMBERS}
"""The values that clients may register, by member."""

_AT_AUTHORIZE: Final = {parameter.name for parameter in BY_ENDPOINT["authorize"]}


def openid_configuration() -> ResponseReturnValue:
    """GET /.well-known/openid-configuration: the same metadata (OpenID Connect Discovery section 4)."""
    return metadata()


def metadata() -> ResponseReturnValue:
    """GET /.well-known/oauth-authorization-server; a back-channel URL is the base of the back-channel endpoints."""
    settings, registry = services().settings, services().registry
    host = request.host.lower()
    back_channel = next((url for url in settings.backchannel_urls if urlsplit(url).netloc.lower() == host), None)
    base = back_channel or settings.issuer
    source = (settings, registry.resources(), registry.claim_scopes())
    prepared: dict[str, _Prepared] = current_app.extensions.setdefault("rolecall_metadata", {})
    found = prepared.get(base)
    if found is None or not all(map(is_, found.source, source)):
        text = json.dumps(_document(base), separators=(",", ":"))
        document = Document.of(text, "application/json", settings.jwks_max_age, ("Vary", "Host"))
        found = prepared[base] = _Prepared(source, document)
    return found.document.response()


class _Prepared(NamedTuple):
    """Generated metadata, and the settings, resources, and claim scopes that they were generated from."""

    source: tuple[object, ...]
    document: Document


def _document(back_channel: str) -> dict[str, Any]:
    issuer = services().settings.issuer
    endpoints = {
        route.metadata: (issuer if route.kind == "page" else back_channel) + route.path
        for route in current_app.extensions["rolecall_routes"]
        if route.metadata and (route.name != "register" or services().settings.registration != "closed")
    }
    resources, identity = services().registry.resources(), scopes.all_identity_scopes()
    methods = _CHOICES["token_endpoint_auth_method"]
    assertion_algorithms = _CHOICES["token_endpoint_auth_signing_alg"]
    return {
        "issuer": issuer,
        **endpoints,
        "scopes_supported": sorted({*identity, *scopes.scopes_of_apis()}),
        "response_types_supported": _CHOICES["response_types"],
        "response_modes_supported": list(RESPONSE_MODES),
        "grant_types_supported": _CHOICES["grant_types"],
        "code_challenge_methods_supported": [CODE_CHALLENGE_METHOD],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": assertion_algorithms,
        "revocation_endpoint_auth_signing_alg_values_supported": assertion_algorithms,
        # resources always authenticate with a secret
        "introspection_endpoint_auth_methods_supported": methods[:1],
        "request_parameter_supported": "request" in _AT_AUTHORIZE,
        "request_uri_parameter_supported": "request_uri" in _AT_AUTHORIZE,
        "require_request_uri_registration": "request_uris" in _CHOICES,
        "request_object_signing_alg_values_supported": _CHOICES["request_object_signing_alg"],
        "authorization_response_iss_parameter_supported": True,
        "protected_resources": [resource.identifier for resource in resources],
        "subject_types_supported": _CHOICES["subject_type"],
        "id_token_signing_alg_values_supported": _CHOICES["id_token_signed_response_alg"],
        "userinfo_signing_alg_values_supported": _CHOICES["userinfo_signed_response_alg"],
        "acr_values_supported": [ACR],
        "prompt_values_supported": list(PROMPTS),
        "claim_types_supported": ["normal"],
        "claims_supported": [*id_tokens.CLAIMS, *sorted(scopes.claims_of(" ".join(identity)))],
        "claims_parameter_supported": "claims" in _AT_AUTHORIZE,
    }

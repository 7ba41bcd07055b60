"""Authorization server metadata (RFC 8414 section 2), made from the registries: it cannot claim what is not there."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from flask import Response, current_app, json, request
from flask.typing import ResponseReturnValue

from auth_service import id_tokens
from auth_service.authentication_request import PROMPTS, RESPONSE_MODES
from auth_service.grants import GRANTS
from auth_service.models.session import ACR
from auth_service.scopes import CLAIMS
from auth_service.state import state
from rolecall.vocabulary import (
    ASSERTION_ALGORITHMS,
    CLIENT_AUTH_METHODS,
    CODE_CHALLENGE_METHOD,
    ID_TOKEN_ALGORITHMS,
    OPENID_SCOPES,
)

_ASSERTION_ALGORITHMS: Final = [each for algorithms in ASSERTION_ALGORITHMS.values() for each in algorithms]


def openid_configuration() -> ResponseReturnValue:
    """GET the same under the name of OpenID Connect Discovery section 4, whose members are all in it."""
    return metadata()


def metadata() -> ResponseReturnValue:
    """GET the metadata; through a back-channel address, the back-channel endpoints stand under it."""
    settings = state().settings
    host = request.host.lower()
    back_channel = next((url for url in settings.backchannel_urls if urlsplit(url).netloc.lower() == host), None)
    body = json.dumps(_document(back_channel or settings.issuer))
    headers = {"Cache-Control": f"public, max-age={settings.jwks_max_age}", "Vary": "Host"}
    return Response(body, headers=headers, mimetype="application/json")


def _document(back_channel: str) -> dict[str, Any]:
    issuer = state().settings.issuer
    endpoints = {
        route.metadata: (issuer if route.kind == "page" else back_channel) + route.path
        for route in current_app.extensions["rolecall_routes"]
        if route.metadata and (route.name != "register" or state().settings.registration != "closed")
    }
    resources = state().registry.resources()
    confidential = [method for method in CLIENT_AUTH_METHODS if method != "none"]
    return {
        "issuer": issuer,
        **endpoints,
        "scopes_supported": sorted({*OPENID_SCOPES, *(scope for resource in resources for scope in resource.scopes)}),
        "response_types_supported": ["code"],
        "response_modes_supported": list(RESPONSE_MODES),
        "grant_types_supported": [grant.grant_type for grant in GRANTS],
        "code_challenge_methods_supported": [CODE_CHALLENGE_METHOD],
        "token_endpoint_auth_methods_supported": list(CLIENT_AUTH_METHODS),
        "revocation_endpoint_auth_methods_supported": list(CLIENT_AUTH_METHODS),
        "token_endpoint_auth_signing_alg_values_supported": _ASSERTION_ALGORITHMS,
        "revocation_endpoint_auth_signing_alg_values_supported": _ASSERTION_ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": confidential[:1],
        "request_parameter_supported": True,
        "request_uri_parameter_supported": True,
        "require_request_uri_registration": True,
        "request_object_signing_alg_values_supported": list(ID_TOKEN_ALGORITHMS),
        "authorization_response_iss_parameter_supported": True,
        "protected_resources": [resource.identifier for resource in resources],
        "subject_types_supported": ["public", "pairwise"],
        "id_token_signing_alg_values_supported": list(ID_TOKEN_ALGORITHMS),
        "userinfo_signing_alg_values_supported": list(ID_TOKEN_ALGORITHMS),
        "acr_values_supported": [ACR],
        "prompt_values_supported": list(PROMPTS),
        "claim_types_supported": ["normal"],
        "claims_supported": [*id_tokens.CLAIMS, *(name for names in CLAIMS.values() for name in names)],
        "claims_parameter_supported": True,
    }

"""Authorization server metadata (RFC 8414 section 2), made from the registries: it cannot claim what is not there."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Response, current_app, json, request
from flask.typing import ResponseReturnValue

from auth_service.grants import GRANTS
from auth_service.state import state
from rolecall.vocabulary import CLIENT_AUTH_METHODS, CODE_CHALLENGE_METHOD


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
        if route.metadata
    }
    confidential = [method for method in CLIENT_AUTH_METHODS if method != "none"]
    return {
        "issuer": issuer,
        **endpoints,
        "scopes_supported": sorted({scope for resource in state().registry.resources() for scope in resource.scopes}),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [grant.grant_type for grant in GRANTS],
        "code_challenge_methods_supported": [CODE_CHALLENGE_METHOD],
        "token_endpoint_auth_methods_supported": list(CLIENT_AUTH_METHODS),
        "revocation_endpoint_auth_methods_supported": list(CLIENT_AUTH_METHODS),
        "introspection_endpoint_auth_methods_supported": confidential[:1],
        "authorization_response_iss_parameter_supported": True,
        "protected_resources": [resource.identifier for resource in state().registry.resources()],
    }

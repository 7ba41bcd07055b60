"""Security events: each is logged by the logger `rolecall.audit` and counted (OWASP ASVS 5.0 16.3)."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, Final

from flask import current_app, g, has_request_context, request
from prometheus_client import Counter

from rolecall.metrics import AUDIT_EVENTS

log = logging.getLogger(__name__)

EVENTS: Final[dict[str, str]] = {
    "signed_up": "a user created an account",
    "signed_in": "a user signed in",
    "sign_in_failed": "a sign-in attempt with a wrong username or password",
    "signed_out": "a user signed out",
    "throttled": "a rate limit was exceeded",
    "consent_given": "a user gave a client access",
    "consent_denied": "a user denied a client access",
    "consent_taken_back": "a user disconnected a client; its authorizations ended",
    "code_issued": "an authorization code was issued",
    "tokens_issued": "tokens were issued to a client",
    "client_authorized": "a client got access without a user",
    "code_replayed": "a code was replayed; its authorization ended",
    "refresh_token_replayed": "a rotated refresh token was replayed; its authorization ended",
    "token_revoked": "a client revoked an access token",
    "authorization_revoked": "a client revoked a refresh token; its authorization ended",
    "client_authentication_failed": "a client or a resource server failed to authenticate",
    "access_token_refused": "an access token was invalid, or not sufficient for the request",
    "form_refused": "a form without a valid CSRF token: sent by another site, or from an expired page",
    "answer_refused": "the client rejected a response: from another server, for another browser, or forged",
    "keys_rotated": "new signing keys were published",
    "key_retired": "a signing key was retired immediately",
    "keys_resealed": "the signing keys were encrypted under another DATA_KEY",
    "client_registered": "a client was registered, or an administrator changed its registration",
    "registration_changed": "a client changed its own registration",
    "registration_refused": "a token was not valid for registering a client or managing this one",
    "registration_token_made": "an administrator created an initial access token for registration",
    "client_ended": "a client deleted its registration; its authorizations ended",
    "resource_registered": "a resource was registered, or its registration changed",
    "user_added": "an administrator created an account",
    "claim_scope_added": "an administrator defined or changed a scope that releases claims",
    "claims_set": "an administrator changed the claims of a user",
    "user_disabled": "an administrator disabled an account; its authorizations ended",
    "client_disabled": "an administrator disabled a client; its authorizations ended",
    "invoice_paid": "a client paid an invoice on behalf of its owner",
    "connected": "the client received tokens for a user",
    "disconnected": "the client revoked a user's tokens",
}
"""The events with their log messages."""


def record(event: str, **facts: Any) -> None:
    """Log and count an event, with the client's address and the flow id of the current request.

    Args:
        facts: identifiers and reasons; never a secret.

    Raises:
        KeyError: the event is not in `EVENTS`.
    """
    message = EVENTS[event]
    if has_request_context():
        facts = {"address": request.remote_addr, "flow_id": g.get("flow_id"), **facts}
    log.info(message, extra={"event": event, **facts})
    _counter(current_app.extensions["rolecall_settings"].SERVICE, event).inc()


@cache
def _counter(service: str, event: str) -> Counter:
    return AUDIT_EVENTS.labels(service, event)

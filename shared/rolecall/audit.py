"""Acts that matter to security: one log line each by the logger `rolecall.audit`, and a count (OWASP ASVS 5.0 16.3)."""

from __future__ import annotations

import logging
from typing import Any, Final

from flask import current_app, g, has_request_context, request

from rolecall.metrics import AUDIT_EVENTS

log = logging.getLogger(__name__)

EVENTS: Final[dict[str, str]] = {
    "signed_up": "a person made an account",
    "signed_in": "a person signed in",
    "sign_in_failed": "a name and a password that do not belong together",
    "signed_out": "a person signed out",
    "throttled": "somebody tried too often",
    "consent_given": "a person allowed a client something",
    "consent_denied": "a person did not allow it",
    "consent_taken_back": "a person took it back; everything that came of it ended",
    "code_issued": "an authorization began",
    "tokens_issued": "a client was given tokens",
    "code_replayed": "a code was presented again; its authorization ended",
    "refresh_token_replayed": "an old refresh token was presented; its authorization ended",
    "token_revoked": "a client revoked an access token",
    "authorization_revoked": "a client revoked a refresh token, and everything with it",
    "client_authentication_failed": "credentials of a client or a resource that prove nothing",
    "access_token_refused": "an access token that is not good, or not for this",
    "form_refused": "a form without its token: another site sent it, or the page was old",
    "answer_refused": "an answer that the client does not believe: another server's, another browser's or forged",
    "keys_rotated": "new signing keys were published",
    "key_retired": "a signing key was taken out of use at once",
    "keys_resealed": "the signing keys were sealed under another DATA_KEY",
    "client_registered": "a client was registered, or an administrator changed its registration",
    "registration_changed": "a client changed its own registration",
    "registration_refused": "a token that allows nobody to register a client, or to change this one",
    "registration_token_made": "an administrator made a token that allows to register a client",
    "client_ended": "a client ended its registration; everything given to it ended",
    "resource_registered": "a resource was registered, or its registration changed",
    "user_added": "an administrator made an account",
    "user_disabled": "an administrator closed an account; everything given for it ended",
    "client_disabled": "an administrator closed a client; everything given to it ended",
    "invoice_paid": "a client paid an invoice in its owner's name",
    "connected": "the client was given tokens for a person",
    "disconnected": "the client gave a person's tokens back",
}
"""Every event, and what happened."""


def record(event: str, **facts: Any) -> None:
    """Write one down: `facts` are ids and reasons, never a secret. Adds the address and the flow's id.

    Raises:
        KeyError: the event is not in `EVENTS`.
    """
    told = EVENTS[event]
    if has_request_context():
        facts = {"address": request.remote_addr, "flow_id": g.get("flow_id"), **facts}
    log.info(told, extra={"event": event, **facts})
    AUDIT_EVENTS.labels(current_app.extensions["rolecall_settings"].SERVICE, event).inc()

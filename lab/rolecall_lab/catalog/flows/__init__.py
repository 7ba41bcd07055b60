"""The lab's flows, one module and one row each, in the order of the catalog."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from rolecall_lab.catalog.entry import Entry


def _entries(*modules: str) -> tuple[Entry, ...]:
    return tuple(import_module(f"{__name__}.{module}").ENTRY for module in modules)


REFUSED: Final = _entries(
    "implicit",
    "no_pkce",
    "plain_pkce",
    "unregistered_redirect_uri",
    "unregistered_scope",
    "prompt_none",
    "unmet_acr",
    "password",
    "wrong_verifier",
    "replayed_code",
    "more_scope",
    "client_credentials",
    "token_in_query",
    "revoked_token",
    "altered_token",
    "other_nonce",
)
"""Flows with a deliberate mistake, which a service or the client must reject."""

SIGN_IN: Final = _entries(
    "claims_parameter",
    "form_post",
    "hinted",
    "acr",
    "offline_access",
)
"""Sign-in flows that succeed, with features that the client does not use."""

REGISTRATION: Final = _entries(
    "registration",
    "introduced_client",
    "public_client",
    "signed_secret",
    "published_keys",
    "signed_client",
    "signed_rsa",
    "signed_pss",
    "signed_edwards",
    "request_uri",
)
"""Flows of clients that register themselves, each with different metadata."""

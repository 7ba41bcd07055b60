"""The flows of the lab, one file each, one line here: what demands what comes, and what comes, step by step."""

from __future__ import annotations

from typing import Final

from rolecall_client.flows import sign_in
from rolecall_lab.catalog.entry import BAD_ID_TOKEN, CODE, NO_ANSWER, Entry, of_lab
from rolecall_lab.catalog.flows import (
    acr,
    altered_token,
    claims_parameter,
    form_post,
    hinted,
    implicit,
    introduced_client,
    more_scope,
    no_pkce,
    offline_access,
    other_nonce,
    password,
    plain_pkce,
    prompt_none,
    public_client,
    published_keys,
    registration,
    replayed_code,
    request_uri,
    revoked_token,
    signed_client,
    signed_edwards,
    signed_pss,
    signed_rsa,
    signed_secret,
    token_in_query,
    unmet_acr,
    unregistered_redirect_uri,
    unregistered_scope,
    wrong_verifier,
)

REFUSED: Final[tuple[Entry, ...]] = (
    of_lab(implicit, "RFC 6749 section 4.2.2.1", "unsupported_response_type"),
    of_lab(no_pkce, "RFC 7636 section 4.4.1", "invalid_request"),
    of_lab(plain_pkce, "RFC 7636 section 4.4.1", "invalid_request"),
    of_lab(unregistered_redirect_uri, "RFC 6749 section 4.1.2.1", NO_ANSWER),
    of_lab(unregistered_scope, "RFC 6749 section 4.1.2.1", "invalid_scope"),
    of_lab(prompt_none, "OpenID Connect Core section 3.1.2.6", "login_required", plain=sign_in),
    of_lab(unmet_acr, "OpenID Connect Core section 5.5.1.1", "unmet_authentication_requirements", plain=sign_in),
    of_lab(password, "RFC 6749 section 5.2", "400 unsupported_grant_type"),
    of_lab(wrong_verifier, "RFC 7636 section 4.6", CODE, "400 invalid_grant"),
    of_lab(replayed_code, "RFC 6749 section 4.1.2", CODE, "200", "400 invalid_grant", "401 invalid_token"),
    of_lab(more_scope, "RFC 6749 section 5.2", CODE, "200", "400 invalid_scope"),
    of_lab(token_in_query, "RFC 6750 section 3.1", CODE, "200", "401"),
    of_lab(revoked_token, "RFC 6750 section 3.1", CODE, "200", "200", "401 invalid_token"),
    of_lab(altered_token, "RFC 6750 section 3.1", CODE, "200", "401 invalid_token"),
    of_lab(other_nonce, "OpenID Connect Core section 3.1.3.7", CODE, BAD_ID_TOKEN, plain=sign_in),
)
"""Those that are naive on purpose, and that somebody has to refuse."""

ANSWERED: Final[tuple[Entry, ...]] = (
    of_lab(claims_parameter, "OpenID Connect Core section 5.5", CODE, "200", "200", plain=sign_in),
    of_lab(form_post, "OAuth 2.0 Form Post Response Mode section 2", CODE, "200", "200", plain=sign_in),
    of_lab(hinted, "OpenID Connect Core section 3.1.2.1", CODE, "200", CODE, "200", plain=sign_in),
    of_lab(acr, "OpenID Connect Core section 2", CODE, "200", plain=sign_in),
    of_lab(offline_access, "OpenID Connect Core section 11", "201", CODE, "200", "200", "200", "204", plain=sign_in),
)
"""Those that work, and that the client itself has no use for."""

OF_CLIENTS: Final[tuple[Entry, ...]] = (
    of_lab(registration, "RFC 7591 section 3", "201", "200", "200", "204"),
    of_lab(introduced_client, "RFC 7591 section 2", "201", CODE, "204", plain=sign_in),
    of_lab(public_client, "RFC 6749 section 2.1", "201", CODE, "200", "200", "204", plain=sign_in),
    of_lab(signed_secret, "OpenID Connect Core section 9", "201", CODE, "200", "200", "204", plain=sign_in),
    of_lab(
        published_keys, "OpenID Connect Core section 10.1.1", "201", CODE, "200", "200", "200", "204", plain=sign_in
    ),
    of_lab(signed_client, "RFC 9101 section 4", "201", CODE, "200", "200", "204", plain=sign_in),
    of_lab(signed_rsa, "RFC 7518 section 3.3", "201", CODE, "200", "200", "204", plain=signed_client),
    of_lab(signed_pss, "RFC 7518 section 3.5", "201", CODE, "200", "200", "204", plain=signed_client),
    of_lab(signed_edwards, "RFC 8037 section 3.1", "201", CODE, "200", "200", "204", plain=signed_client),
    of_lab(request_uri, "RFC 9101 section 5.2", "201", CODE, "200", "204", plain=sign_in),
)
"""Those of clients that register themselves, each of another kind."""

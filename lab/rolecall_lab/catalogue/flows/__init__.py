"""The flows that are naive on purpose, one file each, one line here: what forbids it, and what comes, step by step."""

from __future__ import annotations

from typing import Final

from rolecall_lab.catalogue.entry import CODE, NO_ANSWER, Entry, refused
from rolecall_lab.catalogue.flows import (
    altered_token,
    implicit,
    more_scope,
    no_pkce,
    password,
    plain_pkce,
    replayed_code,
    revoked_token,
    token_in_query,
    unregistered_redirect_uri,
    unregistered_scope,
    wrong_verifier,
)

REFUSED: Final[tuple[Entry, ...]] = (
    refused(implicit, "RFC 6749 section 4.2.2.1", "unsupported_response_type"),
    refused(no_pkce, "RFC 7636 section 4.4.1", "invalid_request"),
    refused(plain_pkce, "RFC 7636 section 4.4.1", "invalid_request"),
    refused(unregistered_redirect_uri, "RFC 6749 section 4.1.2.1", NO_ANSWER),
    refused(unregistered_scope, "RFC 6749 section 4.1.2.1", "invalid_scope"),
    refused(password, "RFC 6749 section 5.2", "400 unsupported_grant_type"),
    refused(wrong_verifier, "RFC 7636 section 4.6", CODE, "400 invalid_grant"),
    refused(replayed_code, "RFC 6749 section 4.1.2", CODE, "200", "400 invalid_grant", "401 invalid_token"),
    refused(more_scope, "RFC 6749 section 5.2", CODE, "200", "400 invalid_scope"),
    refused(token_in_query, "RFC 6750 section 3.1", CODE, "200", "401"),
    refused(revoked_token, "RFC 6750 section 3.1", CODE, "200", "200", "401 invalid_token"),
    refused(altered_token, "RFC 6750 section 3.1", CODE, "200", "401 invalid_token"),
)

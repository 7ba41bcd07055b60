"""The request that a person approves, resolved with the client's registration (RFC 6749 section 4.1.1)."""

from __future__ import annotations

from rolecall_auth.models.authorization import Approved, AuthorizationRecord
from rolecall_auth.models.client import Client
from rolecall_auth.models.subject import sector_of
from rolecall_auth.openid import scopes
from rolecall_auth.openid.authentication_request import AuthenticationRequest


def resolve(
    client: Client,
    parameters: dict[str, str],
    authentication: AuthenticationRequest,
    *,
    scope: str,
    consent_scope: str,
    resource: str,
) -> Approved:
    """Return the request, completed by the client's registration.

    The consent page shows it. The decision counts only for a request that is equal to it, and the authorization records
    it, so that a change of the registration gives the client no access that the person has not seen.

    Args:
        scope: the scope of the tokens.
        consent_scope: `scope` with the scopes of individually requested claims.
    """
    return Approved(
        client_name=client.client_name,
        scope=consent_scope,
        claims=authentication.claims_within(consent_scope),
        custom_claims=sorted(scopes.custom_claims_of(consent_scope)),
        resource=resource,
        redirect_uri=parameters.get("redirect_uri") or client.get_default_redirect_uri(),
        subject_type=client.subject_type,
        sector=sector_of(client),
        refreshable=may_be_refreshed(client, scope),
    )


def may_be_refreshed(client: Client, scope: str) -> bool:
    """Return whether a client gets a refresh token for this scope.

    With `openid`, it does if the user allowed `offline_access` (OpenID Connect Core section 11); without it, if the
    client is registered for the refresh token grant.
    """
    openid_scopes = scopes.identity_scopes(scope)
    return client.check_grant_type("refresh_token") and (not openid_scopes or "offline_access" in openid_scopes)


def sector(client: Client, authorization: AuthorizationRecord) -> str | None:
    """Return the sector of an authorization's `sub`, or None for a public subject.

    The approved sector counts, so that no change of the registration changes the subject of an authorization.
    """
    approved = authorization.approved
    return approved["sector"] if approved is not None and "sector" in approved else sector_of(client)


def released_claims(client: Client, authorization: AuthorizationRecord, member: str) -> set[str]:
    """Return the individually requested claims that the person approved and the client is still registered for.

    Args:
        member: `userinfo` or `id_token` (OpenID Connect Core section 5.5).
    """
    requested = set((authorization.requested_claims or {}).get(member, ()))
    if not requested:
        return requested
    approved = authorization.approved
    return requested & scopes.claims_of(scopes.narrow(client, approved["scope"] if approved else authorization.scope))


def custom_claims(authorization: AuthorizationRecord, scope: str) -> set[str]:
    """Return the claims that the claim scopes in a scope release, as far as the person approved them.

    Claims that have been added to a claim scope since then are not included.
    """
    approved = authorization.approved
    return scopes.custom_claims_of(scope) & set(approved.get("custom_claims", ()) if approved else ())

"""The authorization code grant (RFC 6749 section 4.1) with PKCE (RFC 7636)."""

from __future__ import annotations

from typing import Any, Final

from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc7636 import CodeChallenge, create_s256_code_challenge
from flask import g
from sqlalchemy import Connection

from rolecall import audit, checks, clock
from rolecall.checks import Secret
from rolecall.errors import OAuthError
from rolecall.vocabulary import CLIENT_AUTH_METHODS, CODE_CHALLENGE_METHOD
from rolecall_auth.grants.request import OAuth2Request
from rolecall_auth.grants.token_response import HasTokens, issue
from rolecall_auth.limits import ACCOUNT_AUTHORIZATION
from rolecall_auth.models import authorization as authorizations
from rolecall_auth.models.client import Client
from rolecall_auth.models.code import REPLAY_PERIOD, AuthorizationCode, authorization_id, new_code
from rolecall_auth.models.consent import hold_consent, normal_scope
from rolecall_auth.models.registry import is_same_resource
from rolecall_auth.models.session import SignIn
from rolecall_auth.models.user import is_active
from rolecall_auth.openid import scopes
from rolecall_auth.services import services

CHALLENGE = checks.define(
    "authorize.code_challenge", "RFC 9700 section 2.1.1", "invalid_request", "PKCE is required. Send a code_challenge."
)
METHOD = checks.define(
    "authorize.code_challenge_method",
    "RFC 7636 section 4.4.1",
    "invalid_request",
    "The only code_challenge_method is S256.",
)
OWNER = checks.define(
    "authorize.owner", "RFC 6749 section 4.1.2.1", "access_denied", "The account is closed or disabled."
)
CONSENT = checks.define(
    "authorize.consent", "RFC 6749 section 4.1.2.1", "access_denied", "The resource owner has revoked the consent."
)
RESOURCE = checks.define(
    "token.resource", "RFC 8707 section 2.2", "invalid_target", "The code was not issued for this resource."
)
ONCE = checks.define(
    "token.code_once",
    "RFC 6749 section 4.1.2",
    "invalid_grant",
    "The code was already used. Its authorization has ended.",
)
ALIVE = checks.define(
    "token.code",
    "RFC 6749 section 4.1.3",
    "invalid_grant",
    "The code is unknown, expired, or was issued to another client.",
)
REDIRECT_URI = checks.define(
    "token.redirect_uri",
    "RFC 6749 section 4.1.3",
    "invalid_grant",
    "The redirect_uri differs from the one in the authorization request.",
)
VERIFIER_SENT = checks.define(
    "token.code_verifier_sent", "RFC 7636 section 4.5", "invalid_request", "The code_verifier is missing."
)
NO_STRAY_VERIFIER = checks.define(
    "token.no_stray_verifier",
    "RFC 9700 section 4.8.2",
    "invalid_request",
    "The request has a code_verifier, but the authorization request had no code_challenge.",
)
VERIFIER = checks.define(
    "token.code_verifier",
    "RFC 7636 section 4.6",
    "invalid_grant",
    "The code_verifier does not match the code_challenge.",
)
TOKEN_CHECKS: Final = (ALIVE, REDIRECT_URI, RESOURCE, VERIFIER_SENT, NO_STRAY_VERIFIER, VERIFIER, ONCE)
"""The checks of a token request."""


class CodeGrant(grants.AuthorizationCodeGrant):
    """The grant: Authlib validates requests; this class stores codes, consumes them, and issues the tokens."""

    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTH_METHODS

    request: OAuth2Request

    def create_authorization_response(  # type: ignore[override]
        self,
        redirect_uri: str,  # noqa: ARG002
        grant_user: SignIn,
        *,
        decided: bool,
    ) -> list[tuple[str, str]] | None:
        """Create an authorization, and a code that is bound to the client, the redirect URI, and the challenge.

        The authorization is stored in SQL before its code leaves the server, so that anything which ends the
        authorization, such as a revoked consent or a replay, also ends the code.

        Args:
            decided: whether the person has just allowed the request, so that a missing consent is one revoked since.

        Returns:
            The parameters of the authorization response; the endpoint applies the `response_mode`. None if the person
            has to decide; in that case, no authorization is stored.

        Raises:
            OAuthError: access_denied, if the account is disabled or the consent has been revoked.
            TooMany: the account has given too many authorizations; this one is not stored.
        """
        services().limits.count(ACCOUNT_AUTHORIZATION, grant_user.user_id)
        code, parameters = new_code(), self.request.payload.data
        authorization = self._store_authorization(authorization_id(code), grant_user, decided)
        if authorization is None:
            services().limits.give_back(ACCOUNT_AUTHORIZATION, grant_user.user_id)
            return None
        g.flow_id = authorization["id"]
        audit.record("code_issued", user_id=authorization["user_id"], client_id=authorization["client_id"])
        value = AuthorizationCode(
            authorization_id=authorization["id"],
            client_id=authorization["client_id"],
            redirect_uri=parameters.get("redirect_uri"),
            scope=authorization["scope"],
            resource=authorization["resource"],
            code_challenge=parameters.get("code_challenge"),
            nonce=parameters.get("nonce"),
            expires_at=clock.now() + services().settings.code_lifetime,
        )
        services().codes.put(code, value)
        response = [("code", code)]
        if "state" in parameters:
            response.append(("state", parameters["state"]))
        return response

    def _store_authorization(self, identifier: str, user: SignIn, decided: bool) -> dict[str, Any] | None:
        """Store an authorization and return its columns; None if the person has to decide."""
        approved, scope = self.request.approved, normal_scope(self.request.scope)
        values = {
            "id": identifier,
            "user_id": user.user_id,
            "client_id": self.request.client.client_id,
            "resource": approved["resource"],
            "scope": scope,
            "resources": scopes.by_resource(scope, approved["resource"]),
            "approved": approved,
            "auth_time": user.auth_time,
            "requested_claims": approved["claims"] or None,
            "sid": user.sid,
            "acr": self.request.authentication.acr,
        }
        with services().database.begin() as connection:
            has_owner, is_allowed = self._owner_and_consent(connection, user.user_id)
            if has_owner and not is_allowed and not decided:
                return None
            OWNER(has_owner, expected="an active account", actual=user.username if has_owner else "none")
            CONSENT(is_allowed, expected="a valid consent", otherwise="a revoked consent")
            authorizations.store(connection, values)
        return values

    def _owner_and_consent(self, connection: Connection, user_id: str) -> tuple[bool, bool]:
        """Whether the account is active, and the consent still valid.

        No consent is stored for clients that ask every time.
        """
        client, approved = self.request.client, self.request.approved
        if client.always_requires_consent(approved["redirect_uri"] or ""):
            return is_active(connection, user_id), True
        if hold_consent(connection, user_id, client.client_id, approved):
            return True, True
        return is_active(connection, user_id), False

    def query_authorization_code(  # type: ignore[override]
        self, code: str, client: Client
    ) -> AuthorizationCode:
        """Return the code if it was issued to this client and has not expired; it may be used.

        Requests from other clients do not consume the code or end its authorization.

        Raises:
            OAuthError: invalid_grant, also for a replay of a code that has expired or that Redis has lost, which ends
                the authorization.
        """
        found = services().codes.find(code)
        if found is None:
            self._reject_late_replay(authorization_id(code), client)
        return ALIVE.require(
            found if found is not None and found.client_id == client.client_id else None,
            expected="a valid code of this client",
            otherwise="no valid code of this client",
        )

    def _reject_late_replay(self, identifier: str, client: Client) -> None:
        with services().database.connect() as connection:
            used = authorizations.used(connection, identifier)
        if used is None:
            return
        client_id, created_at = used
        ends = created_at + services().settings.code_lifetime + REPLAY_PERIOD
        if client_id == client.client_id and clock.now() < ends:
            g.flow_id = identifier
            raise self._replayed(identifier, client)

    def _replayed(self, identifier: str, client: Client) -> OAuthError:
        """End the authorization of a code that is used again, and return the refusal (RFC 6749 section 4.1.2)."""
        services().revocations.end_one("code replayed", identifier)
        audit.record("code_replayed", client_id=client.client_id)
        return ONCE.refusal(expected="first use", actual="used before")

    def create_token_response(self) -> Any:
        """Issue the tokens of the authorization, which consumes the code in the same atomic step.

        Any further use of the code ends the authorization. SQL decides the order of concurrent uses: tokens are only
        issued while the authorization is active, so the first use gets no tokens, or tokens that are revoked
        immediately afterwards.
        """
        found = self.request.authorization_code
        resource = self.request.form.get("resource", found.resource)
        g.flow_id = found.authorization_id
        if found.redirect_uri is None and "redirect_uri" in self.request.form:
            # Authlib compares with the authorization request, which used the registered redirect URI by default
            default, redirect_uri = self.request.client.get_default_redirect_uri(), self.request.form["redirect_uri"]
            REDIRECT_URI(redirect_uri == default, expected=default, actual=redirect_uri)
        RESOURCE(is_same_resource(resource, found.resource), expected=found.resource, actual=resource)
        try:
            audience = services().registry.audience(found.resource)
            body = issue(found.authorization_id, audience, self.request.client, found.nonce)
        except HasTokens:
            raise self._replayed(found.authorization_id, self.request.client) from None
        except OAuthError:
            services().revocations.end_one("code refused", found.authorization_id)
            raise
        ONCE.note(True, expected="first use", actual="first use")
        return 200, body, self.TOKEN_RESPONSE_HEADER


class Pkce(CodeChallenge):
    """PKCE with S256 only; required unless the client's profile makes it optional. A stray verifier is rejected."""

    def validate_code_challenge(self, grant: CodeGrant, redirect_uri: Any) -> None:  # noqa: ARG002
        """Validate the challenge of an authorization request."""
        parameters = grant.request.payload.data
        challenge, method = parameters.get("code_challenge"), parameters.get("code_challenge_method")
        required = grant.request.client.requires_pkce or method is not None
        CHALLENGE(challenge is not None or not required, expected="present", actual=challenge or "missing")
        if challenge is not None:
            # a missing method means `plain` (RFC 7636 section 4.3), which is not supported
            METHOD(method == CODE_CHALLENGE_METHOD, expected=CODE_CHALLENGE_METHOD, actual=method or "plain (default)")

    def validate_code_verifier(self, grant: CodeGrant, result: Any) -> None:  # noqa: ARG002
        """Validate the verifier of a token request, after the client, the code, and the redirect URI."""
        verifier = grant.request.form.get("code_verifier")
        challenge = grant.request.authorization_code.code_challenge
        if challenge is None:
            NO_STRAY_VERIFIER(verifier is None, expected="no code_verifier", otherwise="a code_verifier")
            return
        verifier = VERIFIER_SENT.require(verifier, expected="present", actual="present" if verifier else "missing")
        computed: str = create_s256_code_challenge(verifier)  # type: ignore[no-untyped-call]
        VERIFIER(computed == challenge, expected=challenge, actual=f"SHA-256 of the verifier: {Secret(computed)}")

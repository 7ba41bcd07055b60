"""The authorization code grant (RFC 6749 section 4.1) with PKCE (RFC 7636): validate, take, mint."""

from __future__ import annotations

from typing import Any

from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc7636 import CodeChallenge, create_s256_code_challenge
from flask import g
from sqlalchemy.orm import Session

from rolecall import audit, checks
from rolecall.checks import Secret
from rolecall.errors import OAuthError
from rolecall.vocabulary import CLIENT_AUTH_METHODS, CODE_CHALLENGE_METHOD
from rolecall_auth.grants.token_response import issue
from rolecall_auth.models import new_id, new_secret
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.code import AuthorizationCode
from rolecall_auth.models.consent import has_consent, normal_scope
from rolecall_auth.models.user import is_active
from rolecall_auth.openid import scopes
from rolecall_auth.services import services

CHALLENGE = checks.define(
    "authorize.code_challenge", "RFC 9700 section 2.1.1", "invalid_request", "PKCE is required: send a code_challenge."
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
    "authorize.consent", "RFC 6749 section 4.1.2.1", "access_denied", "The owner has taken the consent back."
)
RESOURCE = checks.define(
    "token.resource", "RFC 8707 section 2.2", "invalid_target", "The code was not issued for this resource."
)
ALIVE = checks.define(
    "token.code",
    "RFC 6749 section 4.1.3",
    "invalid_grant",
    "The code is unknown, expired or for another client.",
)
REDIRECT_URI = checks.define(
    "token.redirect_uri",
    "RFC 6749 section 4.1.3",
    "invalid_grant",
    "The redirect_uri is not the one that the code was sent to.",
)
VERIFIER_SENT = checks.define(
    "token.code_verifier_sent", "RFC 7636 section 4.5", "invalid_request", "The code_verifier is missing."
)
NO_STRAY_VERIFIER = checks.define(
    "token.no_stray_verifier",
    "RFC 9700 section 4.8.2",
    "invalid_request",
    "There is a code_verifier, but the authorization request had no code_challenge.",
)
VERIFIER = checks.define(
    "token.code_verifier", "RFC 7636 section 4.6", "invalid_grant", "The code_verifier does not fit the code_challenge."
)
ONCE = checks.define(
    "token.code_once", "RFC 6749 section 4.1.2", "invalid_grant", "The code was used before; what it gave has ended."
)


class CodeGrant(grants.AuthorizationCodeGrant):
    """Authlib validates; codes are kept, taken and turned into tokens here."""

    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTH_METHODS

    def create_authorization_response(self, redirect_uri: str, grant_user: Any) -> Any:  # noqa: ARG002
        """Make the authorization, and a code for it that is bound to client, redirect URI and challenge.

        Gives the parameters of the answer; how they travel is the endpoint's business (`response_mode`).

        The authorization stands in SQL before its code is known to anybody: whatever ends it later, a consent that is
        taken back or a replay, ends the code with it.
        """
        parameters, wanted = self.request.payload.data, self.request.authentication
        authorization = Authorization(
            id=new_id(),
            user_id=grant_user.user_id,
            client_id=self.request.client.client_id,
            resource=scopes.resource_for(self.request.scope, parameters.get("resource")).identifier,
            scope=normal_scope(self.request.scope),
            auth_time=grant_user.auth_time,
            requested_claims=wanted.requested_claims or None,
            sid=grant_user.sid,
            acr=wanted.acr,
        )
        with services().database.transaction() as session:
            OWNER(is_active(session, grant_user.user_id), expected="an account in use", otherwise="none")
            CONSENT(
                self._is_allowed(session, authorization),
                expected="a consent that stands",
                otherwise="one that was taken back",
            )
            session.add(authorization)
        g.flow_id = authorization.id
        audit.record("code_issued", user_id=authorization.user_id, client_id=authorization.client_id)
        code = new_secret()
        value = AuthorizationCode(
            authorization_id=authorization.id,
            client_id=authorization.client_id,
            redirect_uri=parameters.get("redirect_uri"),
            scope=authorization.scope,
            resource=authorization.resource,
            code_challenge=parameters.get("code_challenge"),
            nonce=parameters.get("nonce"),
        )
        services().codes.put(code, value, services().settings.code_lifetime)
        answer = [("code", code)]
        if "state" in parameters:
            answer.append(("state", parameters["state"]))
        return answer

    def _is_allowed(self, session: Session, authorization: Authorization) -> bool:
        """Whether the consent still stands; a client that is asked about every time has none that is kept."""
        client, redirect_uri = self.request.client, self.request.payload.data.get("redirect_uri")
        if client.always_requires_consent(redirect_uri or client.get_default_redirect_uri()):
            return True
        key = (authorization.user_id, authorization.client_id, authorization.resource)
        return has_consent(session, *key, self.request.consent_scope, hold=True)

    def query_authorization_code(self, code: str, client: Any) -> AuthorizationCode | None:
        """The code, when it is this client's: a foreign one takes nothing and ends nothing."""
        found = services().codes.find(code)
        mine = found is not None and found.client_id == client.client_id
        ALIVE(mine, expected="a living code of this client", actual="one" if mine else "none")
        return found

    def create_token_response(self) -> Any:
        """Take the code in one atomic step, then mint.

        Every other presentation ends the authorization. SQL decides which comes first: the winner's mint needs it
        alive, so either the winner gets nothing, or what it got ends right after.
        """
        code, found = self.request.form["code"], self.request.authorization_code
        wanted = self.request.form.get("resource", found.resource)
        g.flow_id = found.authorization_id
        if found.redirect_uri is None and "redirect_uri" in self.request.form:
            # Authlib compares with what the authorization request named; this one left it to the registration
            default, named = self.request.client.get_default_redirect_uri(), self.request.form["redirect_uri"]
            REDIRECT_URI(named == default, expected=default, actual=named)
        RESOURCE(wanted == found.resource, expected=found.resource, actual=wanted)
        if not services().codes.take(code, found):
            services().revocations.end("code replayed", Authorization.id == found.authorization_id)
            audit.record("code_replayed", client_id=found.client_id)
            ONCE(False, expected="first use", actual="presented again", detail="the code was replayed")
        ONCE.note(True, expected="first use", actual="first use")
        try:
            given = issue(found.authorization_id, self.request.client, found.nonce)
        except OAuthError:
            # SQL knows better: a Redis that went back to an older copy has codes again that were used
            services().revocations.end("code refused", Authorization.id == found.authorization_id)
            raise
        return 200, given, self.TOKEN_RESPONSE_HEADER


class Pkce(CodeChallenge):
    """S256 only; required unless the client's profile makes it optional; a stray verifier is refused."""

    def validate_code_challenge(self, grant: Any, redirect_uri: Any) -> None:  # noqa: ARG002
        """At /authorize."""
        parameters = grant.request.payload.data
        challenge, method = parameters.get("code_challenge"), parameters.get("code_challenge_method")
        required = grant.request.client.requires_pkce or method is not None
        CHALLENGE(challenge is not None or not required, expected="present", actual=challenge or "missing")
        if challenge is not None:
            # a missing method means `plain` (RFC 7636 section 4.3), which is not offered
            METHOD(method == CODE_CHALLENGE_METHOD, expected=CODE_CHALLENGE_METHOD, actual=method or "plain (default)")

    def validate_code_verifier(self, grant: Any, result: Any) -> None:  # noqa: ARG002
        """At /token, after client, code and redirect URI."""
        verifier = grant.request.form.get("code_verifier")
        challenge = grant.request.authorization_code.code_challenge
        if challenge is None:
            NO_STRAY_VERIFIER(verifier is None, expected="no code_verifier", actual="one" if verifier else "none")
            return
        VERIFIER_SENT(verifier is not None, expected="present", actual="present" if verifier else "missing")
        computed = create_s256_code_challenge(verifier)
        VERIFIER(computed == challenge, expected=challenge, actual=f"SHA-256 of the verifier: {Secret(computed)}")

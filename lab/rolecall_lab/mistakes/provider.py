"""The provider: metadata, key set, authorization, token, and userinfo (OpenID Connect Core sections 3.1 and 12).

It is stateless: codes, access tokens, and refresh tokens contain everything that it needs. Every request signs in the
same person. It is for the lab only, and no other service accepts its tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from rolecall import clock
from rolecall.vocabulary import METADATA_PATH, OPENID_CONFIGURATION_PATH
from rolecall_lab.mistakes.alterations import Alteration
from rolecall_lab.mistakes.drafts import AuthorizationResponse, Draft, IdToken, decode, encode
from rolecall_lab.mistakes.keys import MAIN

SUBJECT: Final = "usr_mistaken-alice"
USERINFO: Final = {"sub": SUBJECT, "name": "Alice Liddell", "email": "alice@wonderland.test", "email_verified": True}
LIFETIME: Final = 300
"""Seconds until an ID token expires."""


class Provider:
    """An OpenID Provider with one alteration.

    Args:
        issuer: its identifier, without a trailing slash.
        alteration: the difference from a correct provider; None for a correct provider.
        backchannel_url: the address of the endpoints that the client calls; the default is the issuer.
    """

    def __init__(self, issuer: str, alteration: Alteration | None = None, backchannel_url: str | None = None) -> None:
        self.issuer = issuer
        self._backchannel_url = backchannel_url or issuer
        self._alteration = alteration
        self._path = urlsplit(issuer).path

    def respond(
        self, method: str, path: str, parameters: Mapping[str, str], authorization: str = ""
    ) -> Draft | AuthorizationResponse:
        """Return the response to a request.

        Args:
            path: the path of the URL, including the issuer's path.
            parameters: the parameters of the query or the form.
            authorization: the `Authorization` header.
        """
        if path in {f"{METADATA_PATH}{self._path}", f"{self._path}{OPENID_CONFIGURATION_PATH}"}:
            return self._metadata(is_openid=path.endswith(OPENID_CONFIGURATION_PATH))
        views: dict[str, Callable[[], Draft | AuthorizationResponse]] = {
            "/jwks": self._keys,
            "/authorize": lambda: self._authorize(parameters),
            "/token": lambda: self._token(parameters),
            "/userinfo": lambda: self._userinfo(authorization),
            "/revoke": lambda: Draft({}),
        }
        view = views.get(path.removeprefix(self._path))
        allowed = {"/token": "POST", "/revoke": "POST"}.get(path.removeprefix(self._path), "GET")
        return view() if view is not None and method == allowed else Draft({"error": "not_found"}, 404)

    def _altered(self, place: str, draft: Any) -> Any:
        if self._alteration is not None and (change := self._alteration.changes.get(place)):
            change(draft)
        return draft

    def _metadata(self, *, is_openid: bool) -> Draft:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self._backchannel_url}/token",
            "userinfo_endpoint": f"{self._backchannel_url}/userinfo",
            "revocation_endpoint": f"{self._backchannel_url}/revoke",
            "jwks_uri": f"{self._backchannel_url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        draft: Draft = self._altered("metadata", Draft(document))
        return self._altered("openid_metadata" if is_openid else "oauth_metadata", draft)  # type: ignore[no-any-return]

    def _keys(self) -> Draft:
        draft: Draft = self._altered("keys", Draft({"keys": [MAIN.jwk()]}))
        return draft

    def _authorize(self, parameters: Mapping[str, str]) -> AuthorizationResponse:
        known = {name: parameters.get(name) for name in ("client_id", "nonce", "scope", "code_challenge", "max_age")}
        code = encode(json.dumps({**known, "at": clock.now()}).encode())
        response = AuthorizationResponse({"code": code, "state": parameters.get("state"), "iss": self.issuer})
        altered: AuthorizationResponse = self._altered("authorization", response)
        return altered

    def _token(self, form: Mapping[str, str]) -> Draft:
        if form.get("grant_type") == "refresh_token":
            request = decode(form.get("refresh_token", ""))
            if not request:
                return Draft({"error": "invalid_grant"}, 400)
            refreshed: Draft = self._altered("refresh", self._tokens(request, is_refreshed=True))
            return refreshed
        request = decode(form.get("code", ""))
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if not request or (request["code_challenge"] and request["code_challenge"] != encode(verifier)):
            return Draft({"error": "invalid_grant"}, 400)
        draft: Draft = self._altered("token", self._tokens(request))
        return draft

    def _tokens(self, request: Mapping[str, Any], *, is_refreshed: bool = False) -> Draft:
        access_token = encode(json.dumps({"sub": SUBJECT, "at": clock.now()}).encode())
        body = {"access_token": access_token, "token_type": "Bearer", "expires_in": LIFETIME, "scope": request["scope"]}
        scope = (request["scope"] or "").split()
        if "offline_access" in scope:
            body["refresh_token"] = encode(json.dumps({**request, "rotated": request.get("rotated", 0) + 1}).encode())
        if "openid" in scope:
            body["id_token"] = self._id_token(request, access_token, is_refreshed=is_refreshed)
        return Draft(body)

    def _id_token(self, request: Mapping[str, Any], access_token: str, *, is_refreshed: bool) -> Any:
        now = int(clock.now())
        claims = {
            "iss": self.issuer,
            "sub": SUBJECT,
            "aud": request["client_id"],
            "azp": request["client_id"],
            "exp": now + LIFETIME,
            "iat": now,
            "auth_time": int(request["at"]),
            "nonce": request["nonce"],
            "at_hash": at_hash(access_token),
        }
        header = {"alg": MAIN.algorithm, "typ": "JWT", "kid": MAIN.kid}
        if is_refreshed:
            first = {**claims, "iat": int(request["at"])}
            del claims["nonce"]
            token: IdToken = self._altered("refreshed_id_token", IdToken(header, claims, first=first))
        else:
            token = self._altered("id_token", IdToken(header, claims))
        return token.signed()

    def _userinfo(self, authorization: str) -> Draft:
        if not decode(authorization.partition(" ")[2]):
            return Draft({"error": "invalid_token"}, 401)
        draft: Draft = self._altered("userinfo", Draft(dict(USERINFO)))
        return draft


def at_hash(access_token: str) -> str:
    """Return the left half of the SHA-256 hash (OpenID Connect Core section 3.1.3.6)."""
    return encode(hashlib.sha256(access_token.encode()).digest()[:16])

"""A relying party for the tests of OpenID Connect: a client, a person with every claim, and a check of ID tokens."""

from __future__ import annotations

from typing import Any

import jwt

from rolecall.storage import digest
from rolecall_auth.models.client import Client
from rolecall_auth.models.user import User
from support.auth_server import Server, a_client, basic, claims

SECRET = "secret-of-the-relying-party-0123456789"
RP = basic("rp", SECRET)
CALLBACK = "http://rp.test/callback"
SCOPE = "openid profile email address phone offline_access"

ALICE: dict[str, Any] = {
    "name": "Alice Liddell",
    "given_name": "Alice",
    "family_name": "Liddell",
    "middle_name": "Pleasance",
    "nickname": "Al",
    "preferred_username": "alice",
    "profile": "https://wonderland.test/alice",
    "picture": "https://wonderland.test/alice.png",
    "website": "https://alice.test/",
    "gender": "female",
    "birthdate": "1852-05-04",
    "zoneinfo": "Europe/London",
    "locale": "en-GB",
    "updated_at": 1700000000,
    "email": "alice@wonderland.test",
    "email_verified": True,
    "phone_number": "+44 1865 276150",
    "phone_number_verified": False,
    "address": {"formatted": "Christ Church\nOxford", "locality": "Oxford", "country": "UK"},
}


def relying_party(**changes: Any) -> Client:
    values: dict[str, Any] = {
        "client_id": "rp",
        "client_name": "Relying Party",
        "profile": "openid",
        "secret_hash": digest(SECRET),
        "redirect_uris": [CALLBACK],
        "scope": SCOPE if changes.get("subject_type") == "pairwise" else f"{SCOPE} invoices:read",
    }
    return a_client(**(values | changes))


def with_claims(server: Server) -> None:
    """Give Alice every standard claim."""
    with server.services.database.transaction() as session:
        session.get_one(User, server.ids["alice"]).claims = ALICE


ASKED = {"client_id": "rp", "redirect_uri": CALLBACK, "scope": "openid", "nonce": "n0nce"}


def tokens(server: Server, headers: dict[str, str] | None = None, /, **changes: str) -> dict[str, Any]:
    """Return a token response of the relying party."""
    code = server.code(**(ASKED | changes))
    response = server.redeem(code, headers or RP, redirect_uri=CALLBACK)
    assert response.status_code == 200, response.text
    return dict(response.json or {})


def verified(server: Server, id_token: str, client_id: str = "rp") -> dict[str, Any]:
    """Return the claims of an ID token after a check of its signature with a library that the server does not use."""
    header = jwt.get_unverified_header(id_token)
    keys = jwt.PyJWKSet.from_dict(dict(server.app.test_client().get("/jwks").json or {}))
    decoded = jwt.decode(
        id_token,
        keys[header["kid"]],
        [header["alg"]],
        audience=client_id,
        options={"verify_exp": False, "verify_iat": False},
    )
    assert decoded == claims(id_token)
    return dict(decoded)

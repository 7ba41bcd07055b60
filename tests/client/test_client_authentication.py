"""How Tally authenticates at the token endpoint and the revocation endpoint."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest

from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from rolecall_client.settings import client_key
from support.providers import client_keys
from support.tally import ISSUER, METADATA, Tally


def requests(tally: Tally, **settings: Any) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Connect and disconnect Tally; return headers and form of the requests in which it authenticates."""
    browser = tally.again(**settings).browser()
    browser.connect()
    browser.press("/disconnect", "/invoices")
    sent = [*tally.http.to(METADATA["token_endpoint"]), *tally.http.to(METADATA["revocation_endpoint"])]
    assert len(sent) == 2
    return [(headers, form) for _, _, headers, form in sent]


def test_client_secret_basic(tally: Tally) -> None:
    """RFC 6749 section 2.3.1: ID and secret are form-urlencoded before they are put in the header."""
    for headers, form in requests(tally, client_secret="a b:c"):
        assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"tally:a+b%3Ac"
        assert form.keys().isdisjoint({"client_id", "client_secret", "client_assertion"})


def test_client_secret_post(tally: Tally) -> None:
    """RFC 6749 section 2.3.1: ID and secret are in the body only."""
    for headers, form in requests(tally, client_auth_method="client_secret_post"):
        assert "Authorization" not in headers
        assert (form["client_id"], form["client_secret"]) == ("tally", "client-secret-value")


@pytest.mark.parametrize(
    ("audience", "expected"), [("issuer", ISSUER), ("token_endpoint", METADATA["token_endpoint"])], ids=str
)
def test_private_key_jwt(tally: Tally, audience: str, expected: str) -> None:
    """RFC 7523 section 3, OpenID Connect Core section 9: a new assertion for each request, without the secret."""
    private, public = client_keys()
    key = client_key(json.dumps(private))
    ids = set()
    for headers, form in requests(
        tally, client_auth_method="private_key_jwt", client_private_key=key, client_assertion_audience=audience
    ):
        assert "Authorization" not in headers
        assert "client_secret" not in form
        assert form["client_assertion_type"] == CLIENT_ASSERTION_TYPE
        assert jwt.get_unverified_header(form["client_assertion"])["kid"] == "tally"
        claims = jwt.decode(form["client_assertion"], jwt.PyJWK(public), ["ES256"], audience=expected, issuer="tally")
        assert claims["sub"] == "tally"
        assert claims["exp"] - claims["iat"] == 60
        ids.add(claims["jti"])
    assert len(ids) == 2

"""The authorization code flow with PKCE (RFC 6749 section 4.1)."""

from __future__ import annotations

import pytest

from support.auth_server import ISSUER, RESOURCE, Server, claims

pytestmark = pytest.mark.database


def test_code_flow_gives_tokens_for_the_resource(server: Server) -> None:
    """RFC 6749 sections 1.2, 4.1 and 4.1.1."""
    browser = server.browser()
    answer = browser.request()
    assert answer.status_code == 303
    assert answer.location.startswith(f"{server.path}/sign-in?interaction=")
    answer = browser.sign_in(path=answer.location)
    answer = browser.client.get(answer.location)
    assert answer.location.startswith(f"{server.path}/consent?interaction=")
    answer = browser.submit(answer.location, decision="allow")
    answer = browser.client.get(answer.location)
    assert answer.status_code == 303
    assert answer.location.startswith("http://tally.test/callback?code=")
    assert "state=st4te" in answer.location
    code = answer.location.split("code=")[1].split("&")[0]
    response = server.redeem(code)
    assert response.status_code == 200
    body = response.json
    assert body is not None
    assert response.headers["Cache-Control"] == "no-store"
    token = claims(body["access_token"])
    assert token["aud"] == RESOURCE
    assert token["iss"] == ISSUER
    assert token["sub"] == server.ids["alice"]
    assert token["exp"] - token["iat"] == body["expires_in"] == 300
    assert server.introspect(body["access_token"])["sub"] == server.ids["alice"]

"""Requests that cause every response of OpenID Connect's endpoints, for the test of their description."""

from __future__ import annotations

from flask import Flask

from rolecall.web.cors import Origins
from support.auth_server import Server, another_process, authorize_url, basic, query
from support.described import watched
from support.openid import ASKED, CALLBACK, RP, SECRET, relying_party, tokens, with_claims
from support.signing import claims, present, signer
from support.signing import signed as signed_by_client

ALGORITHM = "ES256"


def relying_parties_ask(server: Server) -> str:
    """Send requests of relying parties; return an access token for userinfo."""
    with_claims(server)
    server.add(relying_party(), relying_party(client_id="signed", userinfo_signed_response_alg=ALGORITHM))
    client = server.app.test_client()
    assert client.get("/.well-known/openid-configuration").status_code == 200
    given = tokens(server, scope="openid profile email address phone offline_access", prompt="consent")
    server.refresh(given["refresh_token"], RP)
    signed = server.redeem(
        server.code(**ASKED | {"client_id": "signed"}), basic("signed", SECRET), redirect_uri=CALLBACK
    )
    without_challenge = server.code(**ASKED | {"code_challenge": "-", "code_challenge_method": "-"})
    assert server.redeem(without_challenge, RP, redirect_uri=CALLBACK).status_code == 400
    of_api = tokens(server, scope="invoices:read")["access_token"]
    assert signed.json is not None
    for token, status in (
        (given["access_token"], 200),
        (signed.json["access_token"], 200),
        ("none", 401),
        (of_api, 403),
    ):
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/userinfo", headers=headers).status_code == status
        assert client.post("/userinfo", headers=headers).status_code == status
    assert client.get("/userinfo").status_code == client.post("/userinfo").status_code == 401
    assert client.get("/userinfo", headers=TWICE).status_code == 400
    assert client.post("/userinfo", data={"access_token": ["a", "b"]}).status_code == 400
    browser = server.browser()
    assert browser.request(**ASKED, response_mode="form_post", prompt="none").status_code == 200
    assert browser.client.post("/authorize", data={"client_id": "rp", "response_mode": "form_post"}).status_code == 200
    for changes in ({"claims": "[]"}, {"id_token_hint": "x"}):
        url = authorize_url(**ASKED | changes)
        assert query(browser.client.get(url).location)["error"] == "invalid_request"
        assert query(browser.client.post("/authorize", data=query(url)).location)["error"] == "invalid_request"
    server.add(signer())
    assert all(
        present(server, signed_by_client(claims()), path).status_code in {200, 400} for path in ("/token", "/revoke")
    )
    return str(given["access_token"])


TWICE = {"Authorization": "Bearer a,Bearer a"}
"""A repeated header, as a server joins its values."""

METADATA = {"redirect_uris": ["https://rp.example/callback"], "client_name": "An app", "jwks": {"keys": []}}


def clients_register(server: Server) -> dict[str, str]:
    """Send registration requests; return the path of a registration and the header to manage it."""
    from support.registration import PIXEL, Web, with_web

    client, before = server.app.test_client(), server.services.fetcher
    with_web(server, Web(logo=(PIXEL, "image/png")))
    asked = {"redirect_uris": METADATA["redirect_uris"], "logo_uri": "https://rp.example/logo.png"}
    made = client.post("/register", json=asked).json
    object.__setattr__(server.services, "fetcher", before)
    assert made is not None
    assert client.post("/register", json=METADATA).status_code == 400
    assert client.post("/register", json=asked, headers={"Authorization": "Bearer x"}).status_code == 401
    path, headers = f"/register/{made['client_id']}", {"Authorization": f"Bearer {made['registration_access_token']}"}
    assert client.get(f"/logos/{made['client_id']}").status_code == 200
    assert client.get("/logos/none").status_code == 404
    for method in ("GET", "PUT", "DELETE"):
        assert client.open(path, method=method).status_code == 401
        assert client.open(path, method=method, headers=TWICE).status_code == 400
    assert client.get(path, headers=headers).status_code == 200
    assert client.put(path, headers=headers, json=asked).status_code == 400
    assert client.put(path, headers=headers, json={**asked, "client_id": made["client_id"]}).status_code == 200
    assert client.delete(path, headers=headers).status_code == 204
    return {"path": path, **headers}


def clients_register_in_vain(server: Server, seen: set[tuple[str, int]], _managed: dict[str, str]) -> None:
    """Send requests to closed registration, and from an origin that is not allowed."""
    watched(server.app, seen)
    assert server.app.test_client().post("/register", json={}).status_code == 403
    local = another_process(server, registration_origins=Origins("localhost")).app
    watched(local, seen)
    elsewhere = {"Origin": "https://evil.example"}
    for method in ("GET", "PUT", "DELETE"):
        assert local.test_client().open("/register/x", method=method, headers=elsewhere).status_code == 403


def registries_are_away(app: Flask, managed: dict[str, str]) -> None:
    """Send requests while the database does not respond."""
    client, headers = app.test_client(), {"Authorization": managed["Authorization"]}
    for method in ("GET", "PUT", "DELETE"):
        assert client.open(managed["path"], method=method, headers=headers).status_code == 503
    assert client.get("/logos/none").status_code == 503

import secrets
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session
from sign_in import sign_in

ISSUER, API = "http://localhost:8001", "http://localhost:8002"
REDIRECT_URI = "http://localhost:9000/callback"


@pytest.fixture(scope="session")
def client():
    metadata = {
        "client_name": "My app",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "openid invoices:read offline_access",
    }
    return requests.post(f"{ISSUER}/register", json=metadata, timeout=10).json()


@pytest.fixture
def oauth(client):
    return OAuth2Session(
        client["client_id"],
        client["client_secret"],
        redirect_uri=REDIRECT_URI,
        scope=client["scope"],
        code_challenge_method="S256",
        token_endpoint=f"{ISSUER}/token",
        leeway=0,
    )


def connect(oauth, **options):
    verifier = secrets.token_urlsafe(48)
    url, state = oauth.create_authorization_url(f"{ISSUER}/authorize", code_verifier=verifier)
    redirect = sign_in(url, REDIRECT_URI, **options)
    return oauth.fetch_token(authorization_response=redirect, state=state, code_verifier=verifier)


def test_it_reads_the_invoices(oauth):
    connect(oauth)
    assert oauth.get(f"{API}/invoices").json()["invoices"]


def test_it_notices_a_denied_request(oauth):
    verifier = secrets.token_urlsafe(48)
    url, _ = oauth.create_authorization_url(f"{ISSUER}/authorize", code_verifier=verifier)
    redirect = sign_in(url, REDIRECT_URI, username="bob", password="builder-lab", decision="deny")
    assert parse_qs(urlsplit(redirect).query)["error"] == ["access_denied"]


def test_it_refreshes_an_expired_token(oauth, clock):
    token = connect(oauth)
    clock(301)
    assert requests.get(f"{API}/invoices", headers=bearer(token), timeout=10).status_code == 401
    refreshed = oauth.refresh_token(refresh_token=token["refresh_token"])
    assert requests.get(f"{API}/invoices", headers=bearer(refreshed), timeout=10).status_code == 200


def test_it_sends_pkce(client, oauth):
    connect(oauth)
    flows = requests.get(f"{ISSUER}/_lab/flows", timeout=10).json()["flows"]
    events = []
    for flow in flows:
        if flow["client_id"] == client["client_id"]:
            events += requests.get(f"{ISSUER}/_lab/events", params={"flow": flow["id"]}, timeout=10).json()["events"]
    exchanges = [event for event in events if event["form"].get("grant_type") == "authorization_code"]
    assert exchanges
    assert all("code_verifier" in event["form"] for event in exchanges)


def bearer(token):
    return {"Authorization": f"Bearer {token['access_token']}"}

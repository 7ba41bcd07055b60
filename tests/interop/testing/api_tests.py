import pytest
import requests

ISSUER, API = "http://localhost:8001", "http://localhost:8002"
JOB = ("reports-service", "lab-only-reports-service-7c3e5a1f9d2b4860")


def token(**parameters):
    form = {"grant_type": "client_credentials", **parameters}
    response = requests.post(f"{ISSUER}/token", data=form, auth=JOB, timeout=10)
    response.raise_for_status()
    return response.json()["access_token"]


def status(access_token):
    """Call your API with the token. The Invoices API, for example, responds 403 to tokens without a user."""
    headers = {"Authorization": f"Bearer {access_token}"}
    return requests.get(f"{API}/invoices", headers=headers, timeout=10).status_code


def test_a_valid_token():
    assert status(token(scope="invoices:read")) in {200, 403}


def test_an_expired_token(clock):
    """The lab's clock is behind, so the token has already expired for every other clock."""
    clock(-400)
    expired = token(scope="invoices:read")
    clock(400)
    assert status(expired) == 401


@pytest.mark.parametrize("part", [0, 1, 2])
def test_an_altered_token(part):
    parts = token(scope="invoices:read").split(".")
    parts[part] = parts[part][:-4] + "AAAA"
    assert status(".".join(parts)) == 401


def test_a_revoked_token():
    """Only an API that uses introspection notices this before the token expires."""
    revoked = token(scope="invoices:read")
    requests.post(f"{ISSUER}/revoke", data={"token": revoked}, auth=JOB, timeout=10)
    headers = {"Authorization": f"Bearer {revoked}", "Rolecall-Validator": "introspection"}
    assert requests.get(f"{API}/invoices", headers=headers, timeout=10).status_code == 401

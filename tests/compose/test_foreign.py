"""Third-party clients in separate containers, which only know an address of Rolecall."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.browsing import conversation
from support.containers import ROOT, docker, names
from support.observer_pages import flow_ids, newest_flow
from support.stack import Stack, wait_until

pytestmark = pytest.mark.compose


@pytest.fixture(scope="session")
def image() -> str:
    docker("build", "-q", "-t", "rolecall-foreign", "-f", "tests/compose/foreign/Dockerfile", "tests")
    return "rolecall-foreign"


def test_authlib_through_the_containers_name(containers: Stack, image: str) -> None:
    """Its configuration has the issuer, and every back-channel endpoint is at the address that it knows."""
    inside = "http://auth-service:8001"
    said = met(image, "python", "authlib_client.py", inside, containers.auth, "http://resource-service:8002")
    assert said == {
        "status": 200,
        "invoices": 12,
        "issuer": containers.auth,
        "endpoint": f"{inside}/token",
        "after_revocation": 401,
    }


def test_openid_client_through_the_one_url(containers: Stack, image: str) -> None:
    """RFC 8414 section 3.3: it rejects metadata whose issuer differs from the URL that it requested."""
    if ".localhost" not in containers.auth:
        pytest.skip("the one URL for both sides is that of `make up HOSTS=localhost-names`")
    before = flow_ids(containers)
    said = met(image, "node", "openid_client.mjs", containers.auth, containers.api)
    assert said == {
        "status": 200,
        "invoices": 12,
        "issuer": containers.auth,
        "endpoint": f"{containers.auth}/token",
        "after_revocation": 401,
    }
    # the observer also draws the flows of software that does not know it
    told = ("GET /authorize", "POST /token", "GET /invoices", "POST /revoke")
    wait_until(lambda: newest_flow(containers, *told) not in {"", *before})


def test_openid_client_refuses_another_issuer(containers: Stack, image: str) -> None:
    """Check the test above: with the container's name as the URL, the issuer differs."""
    command = ["node", "openid_client.mjs", "http://auth-service:8001", containers.api]
    said = docker("run", "--rm", "-i", "--network", network(), image, *command, check=False)
    assert "metadata issuer does not match the expected issuer" in said


def met(image: str, *command: str) -> dict[str, Any]:
    """Run a client in the services' network, and act as its user's browser."""
    return conversation(["docker", "run", "--rm", "-i", "--network", network(), image, *command], ROOT)


def network() -> str:
    """Return the network of the services."""
    [config] = json.loads(docker("inspect", names("auth-service")[0]))
    return next(name for name in config["NetworkSettings"]["Networks"] if name.endswith("_services"))

"""Clients that are not ours, in containers of their own, that know an address and nothing else of Rolecall."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from containers import ROOT, docker, names
from rolecall_lab.walker import Walker
from stack import Stack

pytestmark = pytest.mark.compose


@pytest.fixture(scope="session")
def image() -> str:
    docker("build", "-q", "-t", "rolecall-foreign", "tests/compose/foreign")
    return "rolecall-foreign"


def test_authlib_through_the_containers_name(containers: Stack, image: str) -> None:
    """It is told the issuer, and finds every back-channel endpoint under the address that it knows."""
    inside = "http://auth-service:8001"
    said = met(image, "python", "authlib/client.py", inside, containers.auth, "http://resource-service:8002")
    assert said == {
        "status": 200,
        "invoices": 12,
        "issuer": containers.auth,
        "endpoint": f"{inside}/token",
        "after_revocation": 401,
    }


def test_openid_client_through_the_one_url(containers: Stack, image: str) -> None:
    """RFC 8414 section 3.3: it refuses metadata that name another issuer than the address it asked."""
    if ".localhost" not in containers.auth:
        pytest.skip("the one URL for both sides is that of `make up HOSTS=localhost-names`")
    said = met(image, "node", "openid-client/client.js", containers.auth, containers.api)
    assert said == {
        "status": 200,
        "invoices": 12,
        "issuer": containers.auth,
        "endpoint": f"{containers.auth}/token",
        "after_revocation": 401,
    }
    # software that knows nothing of us gets a picture as well
    listed = Walker().open(f"{containers.observer}/").text
    newest = re.search(r'href="(/flows/[0-9a-f]+)"', listed)
    assert newest is not None
    picture = Walker().open(f"{containers.observer}{newest[1]}").text
    for words in ("GET /authorize", "POST /token", "GET /invoices", "POST /revoke"):
        assert words in picture


def test_openid_client_refuses_another_issuer(containers: Stack, image: str) -> None:
    """So the test above proves something: through the container's name the issuer is another one."""
    command = ["node", "openid-client/client.js", "http://auth-service:8001", containers.api]
    said = docker("run", "--rm", "-i", "--network", network(), image, *command, check=False)
    assert "metadata issuer does not match the expected issuer" in said


def met(image: str, *command: str) -> dict[str, Any]:
    """Run a client in the services' network, be its person's browser, and give what it says in the end."""
    with subprocess.Popen(
        ["docker", "run", "--rm", "-i", "--network", network(), image, *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        line = client.stdout.readline()
        assert line, "the client said nothing"
        client.stdin.write(f"{signed_in(json.loads(line)['open'])}\n")
        client.stdin.close()
        said: dict[str, Any] = json.loads(client.stdout.readline() or "{}")
        client.wait(60)
    return said


def signed_in(url: str) -> str:
    """Open an authorization request, sign in as alice, allow; gives where the browser is sent."""
    walker = Walker()
    page = walker.follow(walker.open(url))
    page = walker.submit(page, username="alice", password="wonderland-lab")
    while page.location is None or "code=" not in page.location:
        page = walker.submit(page, decision="allow") if page.location is None else walker.open(page.location)
    return page.location


def network() -> str:
    """The network in which the services are."""
    [config] = json.loads(docker("inspect", names("auth-service")[0]))
    return next(name for name in config["NetworkSettings"]["Networks"] if name.endswith("_services"))

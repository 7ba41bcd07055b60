"""The examples of the README, run as they are printed, with the addresses of the test."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jwt
import pytest

from support.foreign import Person, configuration, register, require
from support.guides import ROOT, examples
from support.python_programs import ENVIRON
from support.servers import free_port
from support.stack import Stack, lab_command, wait_until

pytestmark = pytest.mark.integration

README = ROOT / "README.md"
CLIENT, API = examples(README, "python")
REGISTER_CLIENT, REGISTER_API = examples(README, "sh")


@pytest.fixture(autouse=True)
def _without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in ENVIRON.items():
        monkeypatch.setenv(variable, value)


def run(command: str, folder: Path) -> str:
    return subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_the_client(lab: Stack, tmp_path: Path) -> None:
    """RFC 7591 section 3, RFC 6749 section 4.1, RFC 7636 section 4: the client gets the invoices."""
    require("curl", "curl")
    port = {":9000": f":{free_port()}"}
    run(configuration(REGISTER_CLIENT, lab, port), tmp_path)
    program = tmp_path / "client.py"
    program.write_text(configuration(CLIENT, lab, {**port, ", 9000)": f", {port[':9000'][1:]})"}))
    command = [sys.executable, str(program)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as client:
        assert client.stdout is not None
        url = client.stdout.readline().removeprefix("Open ").strip()
        page = Person(lab).visit(url)
        assert client.wait(60) == 0
    assert json.loads(page.text)["invoices"]


def test_the_api(lab: Stack, tmp_path: Path) -> None:
    """RFC 9068 section 4 and RFC 7662 section 2.1: the API accepts its tokens, and only with the scope."""
    require("curl", "curl")
    arguments = shlex.split(REGISTER_API.partition("ARGS=")[2])[0]
    printed = lab_command(lab, "launcher.flask_command", "auth-service", *shlex.split(arguments)).stdout
    scopes = f"{lab.auth}/.well-known/oauth-authorization-server"
    # every worker reads the registered APIs again within two seconds
    wait_until(lambda: all("timesheets:read" in lab.get(scopes)[1]["scopes_supported"] for _ in range(20)))
    client = register(lab, client_name="Job", grant_types=["client_credentials"], scope="timesheets:read")
    credentials = f"{client['client_id']}:{client['client_secret']}"
    request = f"curl -s -u {credentials} {lab.auth}/token -d grant_type=client_credentials"
    token = json.loads(run(request, tmp_path))["access_token"]

    example: dict[str, object] = {}
    exec(configuration(API, lab), example)
    claims_of = example["claims_of"]
    assert callable(claims_of)
    assert claims_of(token, "timesheets:read")["client_id"] == client["client_id"]
    with pytest.raises(PermissionError):
        claims_of(token, "timesheets:write")
    with pytest.raises(jwt.InvalidTokenError):
        claims_of(f"{token[:-8]}AAAAAAAA", "timesheets:read")

    [introspection] = re.findall(r"`(curl [^`]*/introspect [^`]*)`", README.read_text())
    secret = printed.rsplit(maxsplit=1)[-1]
    command = configuration(introspection, lab, {"SECRET": secret, "TOKEN": token})
    assert json.loads(run(command, tmp_path))["active"] is True


def test_the_playground(lab: Stack) -> None:
    """The client that the README names exists, with this secret and redirect URI."""
    [(client_id, secret)] = re.findall(
        r"`(openid-playground)`[^`]+`client.json`[^`]+secret is\s+`([^`]+)`", README.read_text()
    )
    form = {"redirect_uri": "http://localhost:9000/callback", "client_id": client_id, "response_type": "code"}
    page = Person(lab).open(f"{lab.auth}/authorize?{'&'.join(f'{k}={v}' for k, v in form.items())}&scope=openid")
    assert page.status == 303
    body = f"grant_type=authorization_code&code=x&client_id={client_id}&client_secret={secret}".encode()
    _, response = lab.call("POST", f"{lab.auth}/token", body, Content_Type="application/x-www-form-urlencoded")
    assert response["error"] in {"invalid_client", "invalid_grant"}

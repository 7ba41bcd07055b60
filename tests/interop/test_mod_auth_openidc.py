"""mod_auth_openidc in Apache: sign-in, claims, and refresh as a relying party, and two ways to guard an API."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from support.authority import certify
from support.foreign import INTEROP, Person, configuration, not_tested, running
from support.gateways import ApiUser, echo, registered, tampered
from support.servers import free_port
from support.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("interop"), pytest.mark.timeout(600)]

FOLDER = INTEROP / "mod_auth_openidc"
PROGRAM = "/usr/sbin/apache2"
MODULES = Path("/usr/lib/apache2/modules")
PASSPHRASE = "a-passphrase-of-this-test-0123456789"


@pytest.fixture(scope="module", autouse=True)
def _apache() -> None:
    """Install Apache and the module if ROLECALL_INTEROP_INSTALL allows it."""
    packages = ["apache2", "libapache2-mod-auth-openidc"]
    if os.environ.get("ROLECALL_INTEROP_INSTALL") == "1" and os.geteuid() == 0 and shutil.which("apt-get"):
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            if not (MODULES / "mod_auth_openidc.so").is_file():
                subprocess.run(["apt-get", *command], env=environ, capture_output=True, timeout=300, check=False)
    if not (MODULES / "mod_auth_openidc.so").is_file():
        not_tested("mod_auth_openidc", f"{' and '.join(packages)} are not installed")


@pytest.fixture
def app() -> Iterator[str]:
    with echo() as url:
        yield url


@contextmanager
def apache(stack: Stack, port: int, replacements: dict[str, str], *files: str) -> Iterator[Path]:
    """Run Apache with these configuration files, as another user than root; yield its folder."""
    owner = "www-data" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with tempfile.TemporaryDirectory(prefix="rolecall-apache-") as name:
        root = Path(name)
        values = {"ROOT": name, "MODULES": str(MODULES), "127.0.0.1:8450": f"127.0.0.1:{port}", **replacements}
        text = "\n".join((FOLDER / file).read_text() for file in ("process.conf", *files))
        (root / "httpd.conf").write_text(configuration(text, stack, values))
        certify(root, "localhost")
        command = [PROGRAM, "-f", str(root / "httpd.conf"), "-D", "FOREGROUND"]
        if os.geteuid() == 0:
            for path in (root, *root.iterdir()):
                shutil.chown(path, owner)
            command = ["setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups", *command]
        with running(command, f"http://localhost:{port}/", cwd=root):
            yield root


def test_relying_party(lab: Stack, app: str) -> None:
    """OpenID Connect Core sections 3.1 and 5.3, RFC 7636: Alice signs in, and the app gets her claims as headers."""
    port = free_port()
    base = f"http://localhost:{port}"
    replacements = {"http://localhost:8450": base, "http://127.0.0.1:8449": app, "PASSPHRASE": PASSPHRASE}
    values = registered(lab, FOLDER / "client.json", replacements)
    # Each access token is valid for 300 s, so each request gets a new one.
    values["OIDCRefreshAccessTokenBeforeExpiry 60"] = "OIDCRefreshAccessTokenBeforeExpiry 300"
    with apache(lab, port, values, "relying-party.conf"):
        alice = Person(lab)
        request = alice.visit(f"{base}/app/", stop=lambda url: url.startswith(f"{lab.auth}/authorize"))
        assert request.location is not None
        assert parse_qs(urlsplit(request.location).query)["code_challenge_method"] == ["S256"]

        first = json.loads(alice.visit(f"{base}/app/").text)["headers"]
        assert first["x-remote-user"] == "alice@wonderland.test"
        assert first["oidc_claim_name"] == "Alice Liddell"
        assert first["oidc_claim_email_verified"] == "1"
        assert first["oidc_claim_iss"] == lab.auth

        second = json.loads(alice.open(f"{base}/app/").text)["headers"]
        assert second["oidc_access_token"] != first["oidc_access_token"]

        assert alice.open(f"{base}/app/readers").status == 200
        assert alice.open(f"{base}/app/builders").status == 401

        logout = urlencode({"logout": f"{base}/"})
        assert alice.open(f"{base}/app/redirect_uri?{logout}").location == f"{base}/"
        assert alice.open(f"{base}/app/").status == 302


def test_introspection(lab: Stack, app: str) -> None:
    """RFC 7662 section 2: Apache asks at each request, so a revoked token is rejected immediately."""
    port = free_port()
    values = {"http://127.0.0.1:8449": app, "PASSPHRASE": PASSPHRASE}
    user, other = ApiUser(lab, app, "api:read"), ApiUser(lab, app, "openid invoices:read")
    with apache(lab, port, values, "introspection.conf") as root:
        url = f"http://localhost:{port}/api/"
        assert user.call(url) == 200, (root / "error.log").read_text()
        assert lab.get(url)[0] == 401
        assert user.call(url, tampered(user.tokens["access_token"])) == 401
        assert other.call(url) == 401
        assert other.call(url, other.tokens["id_token"]) == 401
        user.revoke()
        assert user.call(url) == 401


def test_key_set(lab: Stack, app: str) -> None:
    """RFC 9068 section 4: Apache validates the signature, the issuer, and the audience by itself."""
    port, tls = free_port(), free_port()
    values = {"http://127.0.0.1:8449": app, "PASSPHRASE": PASSPHRASE, ":8451": f":{tls}"}
    user, other = ApiUser(lab, app, "api:read"), ApiUser(lab, app, "openid invoices:read")
    with apache(lab, port, values, "key-set.conf", "tls.conf") as root:
        url = f"http://localhost:{port}/api/"
        assert user.call(url) == 200, (root / "error.log").read_text()
        assert lab.get(url)[0] == 401
        assert user.call(url, tampered(user.tokens["access_token"])) == 401
        assert other.call(url) == 401
        assert other.call(url, other.tokens["id_token"]) == 401

"""express-openid-connect with the code flow: sign-in, calls of an API, and refreshed tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.foreign import Person
from support.node_programs import web_app
from support.stack import Stack

pytestmark = [pytest.mark.npm, pytest.mark.integration]


def test_sign_in_api_and_refresh(lab: Stack, node: Path, tmp_path: Path) -> None:
    """OpenID Connect Core sections 3.1, 5.4, 11, and 12, RFC 6749 section 6: each refresh gives new tokens."""
    with web_app(node, lab, tmp_path, "express_openid_connect") as url:
        alice = Person(lab)
        user = json.loads(alice.visit(f"{url}/").text)
        assert (user["name"], user["email"]) == ("Alice Liddell", "alice@wonderland.test")

        invoices = alice.open(f"{url}/invoices")
        assert invoices.status == 200, invoices.text
        assert json.loads(invoices.text)["invoices"]

        before = json.loads(alice.open(f"{url}/tokens").text)
        after = json.loads(alice.open(f"{url}/tokens?refresh").text)
        assert None not in before.values()
        assert before["access"] != after["access"]
        assert before["refresh"] != after["refresh"]
        assert alice.open(f"{url}/invoices").status == 200

        status, _ = lab.get(f"{lab.api}/invoices", Authorization=f"Bearer {after['access'][:-4]}AAAA")
        assert status == 401


def test_local_logout(lab: Stack, node: Path, tmp_path: Path) -> None:
    """The app's session ends, and the next visit starts another request."""
    with web_app(node, lab, tmp_path, "express_openid_connect") as url:
        alice = Person(lab)
        assert alice.visit(f"{url}/").status == 200
        alice.open(f"{url}/logout")
        location = alice.open(f"{url}/").location
        assert location is not None
        assert location.startswith(f"{lab.auth}/authorize?")

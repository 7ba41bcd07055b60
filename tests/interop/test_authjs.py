"""Auth.js with the provider of its documentation for OpenID Connect."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from support.foreign import Person
from support.node_programs import web_app
from support.stack import Stack

pytestmark = [pytest.mark.npm, pytest.mark.integration]


def test_sign_in_and_out(lab: Stack, node: Path, tmp_path: Path) -> None:
    """OpenID Connect Core sections 3.1 and 5.4, RFC 7636: the session has the name, email, and picture of Alice."""
    with web_app(node, lab, tmp_path, "authjs") as url:
        alice = Person(lab)
        assert json.loads(alice.open(f"{url}/").text) is None

        form = alice.open(f"{url}/auth/signin?callbackUrl={url}/")
        request = alice.submit(form, f"{url}/auth/signin/rolecall")
        assert request.location is not None
        assert request.location.startswith(f"{lab.auth}/authorize?")
        assert parse_qs(urlsplit(request.location).query)["code_challenge_method"] == ["S256"]

        page = alice.visit(request.location)
        assert page.url == f"{url}/"
        assert json.loads(page.text)["user"] == {
            "name": "Alice Liddell",
            "email": "alice@wonderland.test",
            "image": "https://wonderland.test/people/alice.png",
        }

        alice.submit(alice.open(f"{url}/auth/signout"), f"{url}/auth/signout")
        assert json.loads(alice.open(f"{url}/").text) is None

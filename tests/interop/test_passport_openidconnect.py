"""passport-openidconnect with the endpoints of Rolecall."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from support.foreign import Person
from support.node_programs import web_app
from support.stack import Stack

pytestmark = [pytest.mark.npm, pytest.mark.integration]


def test_sign_in(lab: Stack, node: Path, tmp_path: Path) -> None:
    """OpenID Connect Core sections 3.1 and 5.4: the profile has Alice's name and email address, without PKCE."""
    with web_app(node, lab, tmp_path, "passport") as url:
        alice = Person(lab)
        request = alice.open(f"{url}/login").location
        assert request is not None
        query = parse_qs(urlsplit(request).query)
        assert "nonce" in query
        assert "code_challenge" not in query

        profile = json.loads(alice.visit(request).text)
        assert (profile["displayName"], profile["username"]) == ("Alice Liddell", "alice")
        assert profile["name"] == {"familyName": "Liddell", "givenName": "Alice", "middleName": "Pleasance"}
        assert profile["emails"] == [{"value": "alice@wonderland.test"}]


def test_a_response_of_another_session(lab: Stack, node: Path, tmp_path: Path) -> None:
    """RFC 6749 section 10.12: Bob's browser cannot use the response to Alice's request."""
    with web_app(node, lab, tmp_path, "passport") as url:
        alice, bob = Person(lab), Person(lab, "bob", "builder-lab")
        response = alice.visit(f"{url}/login", stop=lambda target: target.startswith(f"{url}/cb")).location
        assert response is not None
        bob.open(f"{url}/login")
        assert bob.open(response).location == f"{url}/login"
        assert json.loads(bob.open(f"{url}/").text) is None

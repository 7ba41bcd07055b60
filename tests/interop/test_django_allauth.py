"""django-allauth with its provider `openid_connect`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from rolecall_lab.walker import Page
from support.foreign import Person
from support.python_programs import django_site
from support.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(900)]


def sign_in(person: Person, site: str) -> tuple[dict[str, list[str]], Page]:
    """Click the link and the button; return the authentication request, and the page at the end."""
    request = person.submit(person.open(f"{site}/accounts/oidc/rolecall/login/"))
    assert request.location is not None
    return parse_qs(urlsplit(request.location).query), person.visit(request.location)


@pytest.mark.parametrize("profile", ["openid", "oauth2.1"])
def test_sign_in(lab: Stack, tmp_path: Path, profile: str) -> None:
    """OpenID Connect Core sections 3.1 and 5.3, RFC 7636; the secret is in the body (RFC 6749 section 2.3.1)."""
    with django_site(lab, tmp_path, "django-allauth", "settings", profile) as site:
        alice = Person(lab)
        query, page = sign_in(alice, site)
        assert query["code_challenge_method"] == ["S256"]
        assert "Signed in as alice: Alice Liddell (alice@wonderland.test)" in page.text
        assert "Groups: readers, croquet" in page.text
        assert "Verified: True" in page.text

        alice.submit(alice.open(f"{site}/accounts/logout/"))
        assert "Signed in" not in alice.open(f"{site}/").text
        _, page = sign_in(Person(lab, "bob", "builder-lab"), site)
        assert "Signed in as bob" in page.text
        assert "Verified: False" in page.text

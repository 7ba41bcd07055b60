"""mozilla-django-oidc: sign-in with the quick start, and with PKCE, groups, and sessions that are renewed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from rolecall_lab.walker import Page
from support.foreign import Person
from support.python_programs import django_site
from support.stack import Stack, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(900)]

PROGRAM = "mozilla-django-oidc"


def sign_in(lab: Stack, person: Person, site: str) -> tuple[dict[str, list[str]], Page]:
    """Click the link; return the authentication request, and the page at the end."""
    start = f"{site}/oidc/authenticate/"
    request = person.visit(start, stop=lambda url: url.startswith(f"{lab.auth}/authorize"))
    assert request.location is not None
    return parse_qs(urlsplit(request.location).query), person.visit(start)


def test_the_quick_start(lab: Stack, tmp_path: Path) -> None:
    """OpenID Connect Core sections 3.1 and 5.3; the secret is in the body (RFC 6749 section 2.3.1)."""
    with django_site(lab, tmp_path, PROGRAM, "settings") as site:
        alice = Person(lab)
        query, page = sign_in(lab, alice, site)
        assert query["scope"] == ["openid email"]
        assert "code_challenge" not in query
        assert "(alice@wonderland.test)" in page.text

        alice.submit(page, f"{site}/oidc/logout/")
        assert "Signed in" not in alice.open(f"{site}/").text


def test_pkce_names_and_groups(lab: Stack, tmp_path: Path) -> None:
    """RFC 7636, for a client of the profile oauth2.1; Bob's email address is not verified."""
    with django_site(lab, tmp_path, PROGRAM, "settings_groups", profile="oauth2.1") as site:
        query, page = sign_in(lab, Person(lab), site)
        assert query["code_challenge_method"] == ["S256"]
        assert "Signed in as Alice Liddell (alice@wonderland.test), readers, croquet" in page.text
        _, page = sign_in(lab, Person(lab, "bob", "builder-lab"), site)
        assert page.status == 200
        assert "Signed in" not in page.text


def test_the_session_is_renewed_without_a_page(lab: Stack, tmp_path: Path) -> None:
    """OpenID Connect Core section 3.1.2.1: `prompt=none` works after consent."""
    with django_site(lab, tmp_path, PROGRAM, "settings_groups", **{"SECONDS = 900": "SECONDS = 2"}) as site:
        alice = Person(lab)
        sign_in(lab, alice, site)
        wait_until(lambda: alice.open(f"{site}/").location)
        page = alice.open(f"{site}/")
        assert page.location is not None
        assert parse_qs(urlsplit(page.location).query)["prompt"] == ["none"]
        assert "Signed in as Alice Liddell" in alice.follow(page).text

"""The code flow of the client `tally`, for a person who signs in and allows it; over HTTP or within a process."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

VERIFIER: Final = "v" * 43
CHALLENGE: Final = "7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM"
FORM_TYPE: Final = "application/x-www-form-urlencoded"

Open = Callable[[str, "dict[str, str] | None", Mapping[str, str]], "Page"]
"""A function that opens a URL, with a form for POST and with headers, and keeps cookies."""


@dataclass(frozen=True)
class Page:
    """A response: its status, where it redirects to (or None), and its text."""

    status: int
    location: str | None
    text: str


@dataclass(frozen=True)
class Party:
    """The data that a client of an authorization server needs.

    Args:
        auth: the URL of the authorization server.
        client: the URL of the client.
        secret: the secret of the client `tally`.
    """

    auth: str
    client: str
    secret: str

    @property
    def credentials(self) -> dict[str, str]:
        """The header with which the client authenticates."""
        return basic("tally", self.secret)

    def authorization_request(self, scope: str) -> str:
        """Return the path and the query of an authorization request."""
        query = {
            "response_type": "code",
            "client_id": "tally",
            "redirect_uri": f"{self.client}/callback",
            "scope": scope,
            "state": "a-state-of-the-benchmark",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        if "offline_access" in scope.split():
            query["prompt"] = "consent"  # OpenID Connect Core section 11
        return f"/authorize?{urlencode(query)}"

    def redemption(self, code: str) -> dict[str, str]:
        """Return the form of a token request for a code."""
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": f"{self.client}/callback",
            "code_verifier": VERIFIER,
        }

    def tokens(self, scope: str, visit: Open) -> dict[str, Any]:
        """Go through the flow, in which alice signs in and consents if she has to, and return the token response."""
        page = visit(f"{self.auth}{self.authorization_request(scope)}", None, {})
        for _ in range(8):
            if page.location is None:
                raise RuntimeError(f"the flow ended with {page.status}: {page.text[:500]}")
            if page.location.startswith(f"{self.client}/callback"):
                answer = parse_qs(urlsplit(page.location).query)
                if "code" not in answer:
                    raise RuntimeError(f"no code: {answer}")
                [code] = answer["code"]
                page = visit(f"{self.auth}/token", self.redemption(code), self.credentials)
                if page.status != 200:
                    raise RuntimeError(f"no token: {page.text[:500]}")
                return dict(json.loads(page.text))
            url = f"{self.auth}{page.location}" if page.location.startswith("/") else page.location
            page = visit(url, None, {})
            if page.location is None:
                form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
                signs_in = 'name="password"' in page.text
                # `login` is the name that node-oidc-provider gives to the field
                person = {"username": "alice", "login": "alice", "password": "wonderland-lab"}
                form |= person if signs_in else {"decision": "allow"}
                page = visit(url, form, {})
        raise RuntimeError("the flow does not end")


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header of HTTP Basic authentication."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

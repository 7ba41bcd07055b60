"""Clients that register themselves (RFC 7591), and the documents that the authorization server fetches for them."""

from __future__ import annotations

from typing import Any

from joserfc.jwk import ECKey

from rolecall_auth.outbound.cache import Fetched
from rolecall_auth.outbound.policy import FetchError
from support.auth_server import Server
from support.openid import CALLBACK

MINIMAL: dict[str, Any] = {"redirect_uris": [CALLBACK.replace("http:", "https:")]}
URI = MINIMAL["redirect_uris"][0]
KEYS = {"keys": [ECKey.generate_key("P-256", {"kid": "one"}).as_dict(private=False)]}
PIXEL = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1" + bytes(40)


def register(server: Server, document: Any = None, token: str | None = None, **members: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = MINIMAL | members if document is None else document
    return server.app.test_client().post("/register", json=body, headers=headers)


def registered(server: Server, **members: Any) -> dict[str, Any]:
    answer = register(server, **members)
    assert answer.status_code == 201, answer.text
    return dict(answer.json)


def manage(
    server: Server, client: dict[str, Any], method: str = "GET", token: str | None = None, **members: Any
) -> Any:
    path = client["registration_client_uri"].removeprefix(server.services.settings.issuer)
    headers = {"Authorization": f"Bearer {token or client['registration_access_token']}"}
    body = {"json": {"client_id": client["client_id"], **MINIMAL, **members}} if method == "PUT" else {}
    return server.app.test_client().open(path, method=method, headers=headers, **body)


class Web:
    """A replacement for the fetcher, which returns these pages by a part of their URL."""

    def __init__(self, **pages: tuple[bytes, str]) -> None:
        self.pages = pages
        self.asked: list[str] = []

    def get(self, url: str, *, accept: str, renew: bool = False) -> Fetched:
        assert accept
        self.asked.append(url)
        for name, (body, content_type) in self.pages.items():
            if name in url:
                return Fetched(body, content_type)
        raise FetchError("connection refused")


def with_web(server: Server, web: Web) -> Web:
    object.__setattr__(server.services, "fetcher", web)
    return web

"""Load with 16 and 64 simultaneous connections: no request is refused, with each database."""

from __future__ import annotations

import base64
import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from rolecall_lab.launcher.environment import LAB_ENV, read_env
from rolecall_lab.walker import Walker
from support.fuzz.attack import WIDE
from support.stack import Stack, running_stack
from support.tally_pages import native_redemption, native_request

pytestmark = [pytest.mark.long, pytest.mark.embedded]

CONNECTIONS: Final = 64
SECONDS: Final = 8.0
"""The time for which each kind of request is repeated."""

SHORT: Final = 4.0
"""The time for the key set, the metadata, and the invoices."""

PLAYGROUND: Final = "openid-playground:lab-only-openid-playground-6b1d8e3f9a2c7504"
RETURNS_TO: Final = "http://localhost:9000/callback"


class Caller:
    """A person with a new account, two applications, and a persistent connection."""

    def __init__(self, stack: Stack, username: str) -> None:
        self.stack = stack
        self._auth, self._api = (
            http.client.HTTPConnection("127.0.0.1", urlsplit(each).port or 80, timeout=60)
            for each in (stack.auth, stack.api)
        )
        self._browser = Walker()
        page = self._browser.open(f"{stack.auth}/sign-up")
        self._browser.submit(page, username=username, password=f"the password of {username}")
        self.tokens = self._redeem(self._code(native_request(stack)))
        self.openid_tokens = self._openid_tokens()
        self._introspects_as = f"invoices-api:{read_env(LAB_ENV)['RESOURCE_SERVICE_RESOURCE_SECRET']}"

    def refresh(self) -> None:
        form = {"grant_type": "refresh_token", "client_id": "tally-desktop"}
        self.tokens = self._send("/token", {**form, "refresh_token": self.tokens["refresh_token"]})

    def code_flow(self) -> None:
        self._redeem(self._code(native_request(self.stack)))

    def introspection(self) -> None:
        answer = self._send("/introspect", {"token": self.tokens["access_token"]}, basic=self._introspects_as)
        assert answer["active"] is True

    def userinfo(self) -> None:
        assert "sub" in self._send("/userinfo", {"access_token": self.openid_tokens["access_token"]})

    def key_set(self) -> None:
        assert self._get(self._auth, f"{self.stack.auth}/jwks")["keys"]

    def metadata(self) -> None:
        parts = urlsplit(self.stack.auth)
        url = parts._replace(path=f"/.well-known/oauth-authorization-server{parts.path}").geturl()
        assert self._get(self._auth, url)["issuer"] == self.stack.auth

    def invoices(self) -> None:
        assert "invoices" in self._get(self._api, f"{self.stack.api}/invoices", self.tokens["access_token"])

    def close(self) -> None:
        self._auth.close()
        self._api.close()

    def _openid_tokens(self) -> dict[str, Any]:
        query = {"response_type": "code", "client_id": "openid-playground", "redirect_uri": RETURNS_TO}
        code = self._code(f"{self.stack.auth}/authorize?{urlencode({**query, 'scope': 'openid profile'})}")
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": RETURNS_TO}
        return self._send("/token", form, basic=PLAYGROUND)

    def _code(self, request: str) -> str:
        page = self._browser.open(request)
        while page.location is not None and "code=" not in page.location:
            page = self._browser.open(page.location)
        if 'id="consent-allow"' in page.text:
            page = self._browser.submit(page, decision="allow")
        while page.location is not None and "code=" not in page.location:
            page = self._browser.open(page.location)
        assert page.location is not None, f"{page.status} {page.text[:2000]}"
        return parse_qs(urlsplit(page.location).query)["code"][0]

    def _redeem(self, code: str) -> dict[str, Any]:
        return self._send("/token", native_redemption(code))

    def _send(self, path: str, form: dict[str, str], basic: str = "") -> dict[str, Any]:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": urlsplit(self.stack.auth).netloc}
        if basic:
            headers["Authorization"] = f"Basic {base64.b64encode(basic.encode()).decode()}"
        self._auth.request("POST", f"{self.stack.base}{path}", urlencode(form), headers)
        return _body(self._auth, path)

    def _get(self, connection: http.client.HTTPConnection, url: str, token: str = "") -> dict[str, Any]:
        parts = urlsplit(url)
        headers = {"Host": parts.netloc} | ({"Authorization": f"Bearer {token}"} if token else {})
        connection.request("GET", parts.path, headers=headers)
        return _body(connection, parts.path)


def _body(connection: http.client.HTTPConnection, path: str) -> dict[str, Any]:
    response = connection.getresponse()
    text = response.read().decode()
    assert response.status == 200, f"{path}: {response.status} {text[:300]}"
    body: dict[str, Any] = json.loads(text)
    return body


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Caller]]:
    with running_stack(tmp_path_factory.mktemp("load"), **WIDE) as stack:
        made = [Caller(stack, f"person-{number}") for number in range(CONNECTIONS)]
        yield made
        for caller in made:
            caller.close()


@pytest.mark.parametrize("connections", [16, CONNECTIONS])
@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        (Caller.refresh, SECONDS),
        (Caller.code_flow, SECONDS),
        (Caller.introspection, SECONDS),
        (Caller.userinfo, SECONDS),
        (Caller.key_set, SHORT),
        (Caller.metadata, SHORT),
        (Caller.invoices, SHORT),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_no_request_fails(
    callers: list[Caller],
    connections: int,
    work: Callable[[Caller], None],
    seconds: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    end = time.monotonic() + seconds

    def repeat(caller: Caller) -> list[float]:
        caller.close()  # the server has closed an idle connection; the next request opens a new one
        times = []
        while (began := time.monotonic()) < end:
            work(caller)
            times.append(time.monotonic() - began)
        return times

    with ThreadPoolExecutor(connections) as pool:
        times = sorted(each for times in pool.map(repeat, callers[:connections]) for each in times)
    p50, p99 = (times[int(len(times) * part)] * 1000 for part in (0.5, 0.99))
    with capsys.disabled():
        sys.stdout.write(f"\n{work.__name__}, {connections} connections: {len(times) / seconds:.0f} per second, ")
        sys.stdout.write(f"p50 {p50:.0f} ms, p99 {p99:.0f} ms\n")

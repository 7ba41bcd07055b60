"""The same authorization response at the same moment, in two applications, as two workers receive it."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.auth_server import copy_cookies
from support.parallel import race
from support.tally import ISSUER, METADATA, Tally, another_process

pytestmark = pytest.mark.long

RESPONSES = 37


def test_an_authorization_response_is_accepted_once(tally: Tally) -> None:
    """RFC 9700 section 4.7: `state` is for one use."""
    second = another_process(tally)
    for number in range(RESPONSES):
        browser = tally.browser()
        state = browser.begin()["state"]

        def come_back(service: Tally, state: str = state, cookies: FlaskClient = browser.client) -> TestResponse:
            tab = service.browser()
            copy_cookies(cookies, tab.client)
            return tab.come_back(code="c0de", state=state, iss=ISSUER)

        responses = race([lambda service=service: come_back(service) for service in [tally, second] * 16])
        assert [response.status_code for response in responses].count(303) == 1
        assert sum("does not match a request" in response.text for response in responses) == 31
        assert len(tally.http.to(METADATA["token_endpoint"])) == number + 1

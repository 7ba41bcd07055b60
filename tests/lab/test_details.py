"""In the lab, error responses also contain the detail that production only logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from rolecall.errors import OAuthError, json_response
from rolecall_lab.wrap import MAX_DETAIL, Lab, describe
from support.auth_server import CALLBACK, SECRET, Server, a_client, make_server, make_settings, query

UNKNOWN = "Client authentication failed. Detail: unknown client"
OTHER_METHOD = (
    "Client authentication failed. Detail: client tally, registered: client_secret_basic, sent: client_secret_post"
)


@pytest.fixture
def server(tmp_path: object, redis_url: str, in_lab: Callable[..., Lab]) -> Iterator[Server]:
    server = make_server(make_settings(tmp_path, redis_url))  # type: ignore[arg-type]
    in_lab(server.app)
    yield server
    server.app.extensions.pop("rolecall_describe")


def test_a_wrong_authentication_method_is_told_apart_from_an_unknown_client(server: Server) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_secret": SECRET}
    for client_id, description in (("nobody", UNKNOWN), ("tally", OTHER_METHOD)):
        answer = server.post("/token", client_id=client_id, **form)
        assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")
        assert answer.json["error_description"] == description


def test_the_page_about_another_redirect_uri_shows_both(server: Server) -> None:
    page = server.browser().request(redirect_uri=CALLBACK + "2")
    assert page.status_code == 400
    assert f"requested: {CALLBACK}2, registered: {CALLBACK}" in page.text


def test_an_error_that_goes_to_the_client_has_its_detail(server: Server) -> None:
    server.add(a_client(client_id="signer", request_uris=["https://keys.example/r"]))
    parameters = {"client_id": "signer", "redirect_uri": CALLBACK, "request": "a.b.c"}
    answer = query(server.app.test_client().get("/authorize", query_string=parameters).location)
    assert answer["error"] == "invalid_request_object"
    assert "Detail: request object: " in answer["error_description"]


@pytest.mark.parametrize(
    ("detail", "status", "description"),
    [
        (None, 400, "Text."),
        ("Text.", 400, "Text."),
        ("token.code", 400, "Text."),
        ("a secret path", 503, "Text."),
        ('é " \\ \n', 400, "Text. Detail: ? ? ? ?"),
        ("x" * 5000, 400, f"Text. Detail: {'x' * MAX_DETAIL}"),
    ],
)
def test_a_detail_has_the_characters_of_a_description_and_a_limit(
    detail: str | None, status: int, description: str
) -> None:
    """RFC 6749 section 5.2; the name of a check is not a detail, and the details of an outage are not shown."""
    from rolecall_auth import routes  # noqa: F401  # registers the checks

    error = OAuthError("invalid_request", "Text.", detail=detail, status=status)
    assert describe(error) == description


def test_without_the_lab_a_response_has_no_detail() -> None:
    error = OAuthError("invalid_request", "Text.", detail="a detail")
    with Flask(__name__).app_context():
        assert json_response(error).json == {"error": "invalid_request", "error_description": "Text."}
    assert json_response(error).get_json() == {"error": "invalid_request", "error_description": "Text."}

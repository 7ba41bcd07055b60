"""The parser of the `Authorization` header."""

from __future__ import annotations

import base64

import pytest
from werkzeug.datastructures import Headers

from rolecall.authorization_header import AuthorizationHeader, count_credentials, parse, parse_all


def basic(decoded: bytes) -> AuthorizationHeader:
    return parse(f"Basic {base64.b64encode(decoded).decode()}")


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "BEARER   abc ", "Bearer \tabc"])
def test_a_bearer_token_is_read_whatever_the_case_and_the_spaces(value: str) -> None:
    header = parse(value)
    assert header.is_bearer
    assert header.bearer_token == "abc"


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer  \t", "Basic abc", "Bearerabc", "", " Bearer abc"])
def test_a_header_without_a_bearer_token_has_none(value: str) -> None:
    assert parse(value).bearer_token is None


def test_credentials_keep_everything_but_the_leading_spaces() -> None:
    assert parse("Bearer   a b ") == AuthorizationHeader("Bearer", "a b ")
    assert parse("Bearer") == AuthorizationHeader("Bearer", "")
    assert parse("") == AuthorizationHeader("", "")


def test_basic_credentials_are_decoded_and_form_urldecoded() -> None:
    assert basic(b"client:secret").basic_credentials() == ("client", "secret")
    assert basic(b"a%3Ab:c+d:e").basic_credentials() == ("a:b", "c d:e")
    assert parse(f"bAsIc  {base64.b64encode(b'a:b').decode()} ").basic_credentials() == ("a", "b")


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (parse("Bearer YTpi"), "not Basic"),
        (parse("Basic !!!"), "base64"),
        (parse("Basic YTp\u00e4"), "base64"),
        (basic(b"\xff:\xff"), "UTF-8"),
        (basic(b"client"), "lack"),
        (basic(b":secret"), "lack"),
        (basic(b"client:"), "lack"),
        (parse("Basic"), "lack"),
    ],
)
def test_malformed_basic_credentials_are_rejected(header: AuthorizationHeader, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        header.basic_credentials()


def test_every_header_of_a_request_is_returned_in_order() -> None:
    headers = Headers([("Authorization", "Bearer a"), ("Accept", "*/*"), ("Authorization", "Basic b")])
    assert parse_all(headers) == [AuthorizationHeader("Bearer", "a"), AuthorizationHeader("Basic", "b")]
    assert parse_all(Headers()) == []


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("", 0),
        ("Bearer a", 1),
        ("Bearer a,Bearer b", 2),
        ("Basic YTpi, bearer b", 2),
        ("Bearer a,b", 1),
        ('Digest username="Bearer", realm="x"', 1),
        ("Unknown a, DPoP b", 1),
    ],
)
def test_joined_credentials_are_counted(value: str, count: int) -> None:
    assert count_credentials(value) == count

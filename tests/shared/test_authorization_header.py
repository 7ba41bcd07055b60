"""The parser of the `Authorization` header."""

from __future__ import annotations

import base64

import pytest
from werkzeug.datastructures import Headers

from rolecall.authorization_header import AuthorizationHeader, parse, parse_all


def basic(decoded: bytes) -> AuthorizationHeader:
    return parse(f"Basic {base64.b64encode(decoded).decode()}")


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "BEARER   abc ", "Bearer \tabc"])
def test_a_bearer_token_is_read_whatever_the_case_and_the_spaces(value: str) -> None:
    assert parse(value).bearer_token == "abc"


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer  \t"])
def test_a_bearer_token_may_be_empty(value: str) -> None:
    assert parse(value).bearer_token == ""


@pytest.mark.parametrize("value", ["Basic abc", "Bearerabc", "", " Bearer abc"])
def test_another_scheme_has_no_bearer_token(value: str) -> None:
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


BEARER_A, BASIC_B = AuthorizationHeader("Bearer", "a"), AuthorizationHeader("Basic", "b")


def test_every_header_of_a_request_is_returned_in_order() -> None:
    headers = Headers([("Authorization", "Bearer a"), ("Accept", "*/*"), ("Authorization", "Basic b")])
    assert parse_all(headers) == [BEARER_A, BASIC_B]
    assert parse_all(Headers()) == []


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("", []),
        ("  ", []),
        (",", []),
        (",Bearer a", [BEARER_A]),
        ("Bearer a", [BEARER_A]),
        ("Bearer a,Bearer a", [BEARER_A, BEARER_A]),
        ("Bearer a, basic b", [BEARER_A, AuthorizationHeader("basic", "b")]),
        ("Bearer a,b", [AuthorizationHeader("Bearer", "a,b")]),
        ('Digest username="Bearer", realm="x"', [AuthorizationHeader("Digest", 'username="Bearer", realm="x"')]),
        ("Unknown a, DPoP b", [AuthorizationHeader("Unknown", "a"), AuthorizationHeader("DPoP", "b")]),
    ],
)
def test_a_repeated_header_is_joined_with_commas(value: str, parsed: list[AuthorizationHeader]) -> None:
    """WSGI (PEP 3333) has one value per header; RFC 9110 section 5.2 defines how values are joined."""
    assert parse_all(Headers([("Authorization", value)])) == parsed

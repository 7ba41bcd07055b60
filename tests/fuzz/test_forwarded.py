"""Forwarding headers: only the values that the trusted proxy added are used (RFC 7239 section 8)."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rolecall.vocabulary import METADATA_PATH
from support.auth_server import WIDE, Server, authorize_url, basic, make_server, make_settings
from support.fuzz.effort import examples
from support.fuzz.forms import look_at
from support.fuzz.request import EVIL
from support.fuzz.twists.headers import FORWARDED

FORGED = [
    *((name, value) for name, value in FORWARDED if b"_" not in name),
    (b"X-Forwarded-Host", b'"' + EVIL.encode()),
    (b"X-Forwarded-Host", b"evil@x, ,"),
    (b"X-Forwarded-For", b'"127.0.0.1'),
    (b"X-Forwarded-Proto", b'"https'),
]
"""Forged headers, without names that contain an underscore, which gunicorn drops."""

FRONT = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "auth.test"}


def test_a_sender_is_no_proxy(tmp_path: Path, redis_url: str) -> None:
    """Forged values come before those of the front, or in headers that the front does not set."""
    server = make_server(make_settings(tmp_path, redis_url, trusted_proxies=1, **WIDE))
    plain = {path: ask(server, path, {}).text for path in (METADATA_PATH, "/sign-in")}
    assert EVIL not in "".join(plain.values())

    @settings(max_examples=examples(33))
    @given(
        random=st.randoms(use_true_random=False),
        path=st.sampled_from([METADATA_PATH, "/sign-in", authorize_url(), "/consent", "/nowhere"]),
    )
    def check(random: Random, path: str) -> None:
        forged = dict(random.choice(FORGED) for _ in range(random.randrange(1, 4)))
        answer = ask(server, path, {name.decode(): value.decode("latin-1") for name, value in forged.items()})
        look_at(answer)
        assert answer.status_code in {200, 303, 400, 404}
        assert EVIL not in answer.text
        assert EVIL not in str(answer.headers)
        if path in plain:
            assert answer.status_code == 200
        if path == METADATA_PATH:
            assert answer.text == plain[path]

    check()


def ask(server: Server, path: str, forged: dict[str, str]) -> Any:
    """Send a request as the front forwards it: its own values are the last of each list."""
    headers = {**forged}
    for name, value in FRONT.items():
        headers[name] = f"{forged[name]}, {value}" if name in forged else value
    return server.app.test_client().get(path, headers=headers)


def test_throttles_count_by_what_the_front_says(tmp_path: Path, redis_url: str) -> None:
    """RFC 9700 section 2.5: a client that claims to be a proxy for others is still counted under its own address."""
    server = make_server(make_settings(tmp_path, redis_url, trusted_proxies=1))

    def guess(sender: str, front: str) -> int:
        headers = {"X-Forwarded-For": f"{sender}, {front}", **basic("tally", "guessed")}
        return server.app.test_client().post("/revoke", headers=headers, data={"token": "x"}).status_code

    assert 429 in {guess(f"203.0.113.{number}", "198.51.100.7") for number in range(70)}
    assert guess("203.0.113.1", "192.0.2.1") != 429

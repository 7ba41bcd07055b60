"""Forms that are wrong in a few places, made by hypothesis, and what holds for every answer to them."""

from __future__ import annotations

import io
import re
import urllib.parse
from typing import Any

from hypothesis import strategies as st
from werkzeug.test import TestResponse

from support.auth_server import CALLBACK
from support.fuzz.request import MARK

NATIVE = "http://127.0.0.1/callback"
"""The redirect URI of the native client that `open_server` has."""

TEXTS = (
    "", " ", "\0", "a\0b", "\r\nX-Injected: 1", MARK, "é", "\u202e", "\ufeff", "\ufffe", "😀" * 30, "\U0010ffff",
    "\x7f", "%00", "x" * 130,
    "x" * 2001, "x" * 17000, "http://evil.test", CALLBACK + "/", CALLBACK + "#x", "//evil.test",
    "javascript:alert(1)", "null", "[]",
    "http://127.0.0.1:99999/callback", "http://127.0.0.1:/callback", "http://127.0.0.1:80@evil.test/callback",
    "http://[", "http://a:b:c",
    NATIVE + "?a=b", NATIVE.upper(), "invoices:read", "tally", "code", "a" * 43, "é" * 43, "openid", "none", "plain",
    "-", "0",
)  # fmt: skip
RAW = (
    b"%", b"%zz", b"%0", b"%u0041", b"%ff%fe", b"%c0%af", b"%ed%a0%80", b"%f4%90%80%80", b"%e2%82", b"%252e", b"+",
    b"\xff", b"\xc3\xa9",
    b"\xed\xa0\x80", b"\0", b"\r\n", b"=", b"%3d%26", b";",
)  # fmt: skip


def any_text() -> st.SearchStrategy[str]:
    return st.text(st.characters(), max_size=20)


def values() -> st.SearchStrategy[bytes]:
    """A value, encoded for a form."""
    return st.one_of(
        st.sampled_from(RAW),
        st.sampled_from(TEXTS).map(lambda text: urllib.parse.quote_plus(text).encode()),
        st.sampled_from(TEXTS).map(lambda text: urllib.parse.quote(urllib.parse.quote(text)).encode()),
        any_text().map(lambda text: urllib.parse.quote(text.encode("utf-8", "surrogatepass")).encode()),
        st.binary(max_size=20).map(lambda data: urllib.parse.quote(data).encode()),
    )


Pairs = list[tuple[bytes, bytes]]


@st.composite
def forms(draw: st.DrawFn, good: dict[str, str], least: int = 0) -> bytes:
    """A good form, changed a few times: replaced, repeated, left out, added, in another order."""
    pairs: Pairs = [(name.encode(), urllib.parse.quote_plus(text).encode()) for name, text in good.items()]
    names = [name for name, _ in pairs] + [b"unknown", b"client_id", b"client_secret", b"state"]
    for _ in range(draw(st.integers(least, 3))):
        what = draw(
            st.sampled_from(
                ["replace", "replace", "replace", "repeat", "repeat", "drop", "add", "same", "turn", "many"]
            )
        )
        place = draw(st.integers(0, max(0, len(pairs) - 1)))
        if what == "add":
            pairs.append((draw(st.one_of(st.sampled_from(names), values())), draw(values())))
        elif what == "many":
            pairs += [(draw(st.sampled_from(names)), b"1")] * draw(st.sampled_from([2, 1100]))
        elif not pairs:
            continue
        elif what == "replace":
            pairs[place] = (pairs[place][0], draw(values()))
        elif what == "repeat":
            pairs.insert(place, (pairs[place][0], draw(values())))
        elif what == "same":
            pairs.append(pairs[place])
        elif what == "drop":
            del pairs[place]
        else:
            pairs.reverse()
    return draw(st.sampled_from([b"&", b"&", b"&", b"&", b"&&", b";"])).join(
        name + b"=" + value for name, value in pairs
    )


def parsed(form: bytes) -> dict[str, list[str]]:
    """What a reader other than the server's makes of it; what is empty counts as omitted (RFC 6749 section 3.1)."""
    names: dict[str, list[str]] = {}
    for pair in form.split(b"&"):
        name, _, value = (urllib.parse.unquote_to_bytes(part.replace(b"+", b" ")) for part in pair.partition(b"="))
        if value:
            names.setdefault(name.decode("utf-8", "replace"), []).append(value.decode("utf-8", "replace"))
    return names


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text().map(lambda text: text.encode("utf-8",
    "replace").decode()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def in_address(form: bytes) -> dict[str, Any]:
    """As gunicorn hands it on, which refuses an address with bytes that are no ASCII."""
    text = "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in form)
    return {"environ_overrides": {"QUERY_STRING": text}}


def body_of(form: bytes, content_type: str = "application/x-www-form-urlencoded") -> dict[str, Any]:
    return {"input_stream": io.BytesIO(form), "content_length": len(form), "content_type": content_type}


def look_at(answer: TestResponse, client: str = "") -> None:
    """What holds for every answer; a page may have a form for this redirect URI of a client's."""
    assert answer.status_code < 500, answer.text
    for name, value in answer.headers:
        assert name != "X-Injected"
        assert "\r" not in value + name
        assert "\n" not in value + name
        assert "<fuzz" not in value
    assert "<fuzz" not in answer.text
    assert "Traceback" not in answer.text
    if answer.mimetype == "text/html":
        text = answer.text.replace(f'action="{client}"', "") if client else answer.text
        assert not re.search(r"""\s(?:href|action|src)=["']?(?://|https?:|javascript:)""", text)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]

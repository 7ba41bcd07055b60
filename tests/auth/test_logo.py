"""Logos: the accepted formats, the maximum size, and which logo is kept after simultaneous updates."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall_auth.clients.logos import MAX_SIDE, raster
from rolecall_auth.outbound.cache import Fetched
from support.auth_server import Server
from support.registration import PIXEL, Web, manage, registered, with_web

LOGO = "https://rp.test/logo.png"


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + bytes(9)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(3)


def jpeg(width: int, height: int) -> bytes:
    """Return a JPEG with an application segment and a Huffman table, which contain other sizes, before the frame."""
    before = b"\xff\xe0\0\6JFIF" + b"\xff\xc4\0\x08" + bytes([0, 17, 0, 17, 0, 17])
    return b"\xff\xd8" + before + b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", height, width) + bytes(6)


def webp(chunk: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + chunk


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width | 0x4000, height))


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L\0\0\0\0\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14))


def extended(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X\0\0\0\0\0\0\0\0" + sides)


FORMATS: dict[Any, str] = {
    png: "image/png",
    gif: "image/gif",
    jpeg: "image/jpeg",
    lossy: "image/webp",
    lossless: "image/webp",
    extended: "image/webp",
}
each_format = pytest.mark.parametrize("make", FORMATS, ids=lambda make: str(make.__name__))


def shown(server: Server, client: dict[str, Any]) -> Any:
    return server.app.test_client().get(f"/logos/{client['client_id']}")


@each_format
def test_each_format_is_known_by_its_first_bytes(make: Any) -> None:
    assert raster(make(300, 200)) == (FORMATS[make], 300, 200)
    for length in range(len(make(300, 200))):
        found = raster(make(300, 200)[:length])
        assert found in {None, (FORMATS[make], 300, 200)}, "a truncated image was recognized as another format"


@each_format
def test_a_few_bytes_do_not_take_a_browsers_memory(server: Server, make: Any) -> None:
    for sides, status in (((MAX_SIDE, MAX_SIDE), 200), ((MAX_SIDE + 1, 1), 404), ((1, MAX_SIDE + 1), 404)):
        with_web(server, Web(logo=(make(*sides), FORMATS[make])))
        answer = shown(server, registered(server, logo_uri=LOGO))
        assert answer.status_code == status
    assert raster(png(0, 0)) == ("image/png", 0, 0)
    with_web(server, Web(logo=(png(0, 0), "image/png")))
    assert shown(server, registered(server, logo_uri=LOGO)).status_code == 404


BEGINNINGS = [make(3, 3)[:length] for make in FORMATS for length in (4, 12, 16, 24, 26)]


@given(st.sampled_from([b"", *BEGINNINGS]), st.binary(max_size=60))
def test_no_bytes_are_an_error(beginning: bytes, rest: bytes) -> None:
    found = raster(beginning + rest)
    assert found is None or found[0].startswith("image/")


def test_a_jpeg_that_leads_nowhere_ends() -> None:
    assert raster(b"\xff\xd8" + b"\xff\xe0\0\2" * 15000) is None
    assert raster(b"\xff\xd8\xff\xe0\0\0" + bytes(100)) is None


def test_a_registration_stands_without_its_logo(server: Server) -> None:
    """If the logo cannot be fetched, the registration still succeeds; pages show a letter instead."""
    web = with_web(server, Web())
    client = registered(server, logo_uri=LOGO)
    assert (client["logo_uri"], web.asked) == (LOGO, [LOGO])
    assert shown(server, client).status_code == 404


def test_a_logo_that_comes_late_is_not_kept(server: Server) -> None:
    """During the fetch of a logo, the client changed to another logo, or was deleted."""
    with_web(server, Web(logo=(png(1, 1), "image/png")))
    client = registered(server)

    class Slow:
        """A fetcher that sends the next request to the registration during a fetch."""

        def __init__(self, method: str, **members: Any) -> None:
            self.next = (method, members)

        def get(self, _url: str, *, accept: str) -> Fetched:
            assert accept
            method, members = self.next
            with_web(server, Web(logo=(png(2, 2), "image/png")))
            assert manage(server, client, method, **members).status_code in {200, 204}
            return Fetched(png(1, 1), "image/png")

    object.__setattr__(server.services, "fetcher", Slow("PUT", logo_uri="https://rp.test/logo-2.png"))
    assert manage(server, client, "PUT", logo_uri=LOGO).status_code == 200
    assert shown(server, client).data == png(2, 2)
    object.__setattr__(server.services, "fetcher", Slow("DELETE"))
    assert manage(server, client, "PUT", logo_uri=LOGO).status_code == 200
    assert shown(server, client).status_code == 404


def test_a_logo_ends_with_its_client(server: Server) -> None:
    with_web(server, Web(logo=(PIXEL, "image/png")))
    client = registered(server, logo_uri=LOGO)
    assert shown(server, client).status_code == 200
    assert manage(server, client, "DELETE").status_code == 204
    assert shown(server, client).status_code == 404


@pytest.mark.parametrize("has_logo", [True, False])
def test_the_client_is_shown_from_sign_in_to_consent(server: Server, has_logo: bool) -> None:
    """RFC 7591 section 2: logo, policy, and terms; section 5: a warning, because the client chose them itself."""
    with_web(server, Web(logo=(png(1, 1), "image/png")) if has_logo else Web())
    links = {"policy_uri": "https://policy.test/p?a=1&b=2", "tos_uri": "https://terms.test/"}
    client = registered(server, logo_uri=LOGO, **links)
    browser = server.browser()
    sign_in = browser.request(client_id=client["client_id"], redirect_uri="-", scope="-").location
    pages = [browser.client.get(sign_in), browser.client.get(sign_in.replace("/sign-in", "/sign-up"))]
    pages.append(browser.client.get(browser.client.get(browser.sign_in(path=sign_in).location).location))
    assert "consent-allow" in pages[-1].text
    for page in pages:
        assert (f'/logos/{client["client_id"]}"' in page.text) == has_logo
        assert 'href="https://policy.test/p?a=1&amp;b=2" rel="noopener noreferrer external">policy.test<' in page.text
        assert 'href="https://terms.test/" rel="noopener noreferrer external">terms.test<' in page.text
        assert "This app registered itself" in page.text

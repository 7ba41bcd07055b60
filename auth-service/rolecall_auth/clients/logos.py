"""Client logos, fetched once and served from here, so that their hosts do not see who visits a consent page."""

from __future__ import annotations

import logging
import struct
from typing import Final

import sqlalchemy as sa

from rolecall_auth.models.client import Client
from rolecall_auth.models.logo import Logo
from rolecall_auth.outbound.policy import FetchError
from rolecall_auth.services import services

log = logging.getLogger(__name__)

MAX_SIDE: Final = 2048
"""Maximum width and height in pixels: a small file can decode to an image that exhausts a browser's memory."""


def fetch(client: Client) -> None:
    """Fetch and store the image at `logo_uri` (RFC 7591 section 2); the reason is logged if it cannot be used."""
    image = _fetch_image(client.client_id, client.logo_uri) if client.logo_uri else None
    with services().database.transaction() as session:
        row = session.get(Client, client.client_id, with_for_update={"key_share": True})
        if row is None or row.disabled_at is not None or row.logo_uri != client.logo_uri:
            return  # the registration changed or ended during the fetch
        session.execute(sa.delete(Logo).where(Logo.client_id == client.client_id))
        if image is not None:
            session.add(Logo(client_id=client.client_id, media_type=image[0], image=image[1]))


def raster(image: bytes) -> tuple[str, int, int] | None:
    """Return the media type, width, and height (pixels) from the first bytes of a raster image; else None.

    Only formats that cannot contain scripts are recognized.
    """
    try:
        if image.startswith(b"\x89PNG\r\n\x1a\n") and image[12:16] == b"IHDR":
            return "image/png", *struct.unpack_from(">II", image, 16)
        if image.startswith((b"GIF87a", b"GIF89a")):
            return "image/gif", *struct.unpack_from("<HH", image, 6)
        if image.startswith(b"\xff\xd8\xff"):
            return "image/jpeg", *_jpeg_size(image)
        if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
            return "image/webp", *_webp_size(image)
    except (struct.error, ValueError):
        pass
    return None


def _jpeg_size(image: bytes) -> tuple[int, int]:
    """Return width and height from the frame header, which follows other segments (ITU-T T.81 section B.2.2)."""
    at = 2
    while True:
        fill, marker, length = struct.unpack_from(">BBH", image, at)
        if fill != 0xFF or length < 2:
            raise ValueError("not a JPEG segment")
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack_from(">HH", image, at + 5)
            return width, height
        at += 2 + length


def _webp_size(image: bytes) -> tuple[int, int]:
    """Return width and height from the first chunk, which has one of three types (RFC 9649 section 2)."""
    kind = image[12:16]
    if kind == b"VP8 " and image[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", image, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and image[20:21] == b"\x2f":
        [bits] = struct.unpack_from("<I", image, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(image) >= 30:
        return int.from_bytes(image[24:27], "little") + 1, int.from_bytes(image[27:30], "little") + 1
    raise ValueError("not a WebP image")


def _fetch_image(client_id: str, logo_uri: str) -> tuple[str, bytes] | None:
    try:
        response = services().fetcher.get(logo_uri, accept="image/png, image/jpeg, image/webp, image/gif")
    except FetchError as error:
        fault = str(error)[:300]
    else:
        found = raster(response.body)
        if found is None or response.content_type.partition(";")[0].strip().lower() != found[0]:
            fault = "not a raster image of its Content-Type"
        elif not all(1 <= side <= MAX_SIDE for side in found[1:]):
            fault = f"{found[1]} x {found[2]} pixels; at most {MAX_SIDE} x {MAX_SIDE} are allowed"
        else:
            return found[0], response.body
    log.info("The logo cannot be used", extra={"client_id": client_id, "detail": fault})
    return None

"""The vendored axe-core is the unmodified release, and finds what it should."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from support.browser.axe import serious

VENDOR = Path(__file__).parents[1] / "vendor"


def test_each_vendored_file_has_its_hash() -> None:
    files = re.findall(r"`([\w./-]+\.js)` \| `([0-9a-f]{64})`", (VENDOR / "README.md").read_text())
    assert {name for name, _ in files} == {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*.js")}
    for name, digest in files:
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest


@pytest.mark.browser
def test_axe_finds_an_image_without_a_text(chromium: Browser) -> None:
    page = chromium.new_page()
    page.set_content("<html lang=en><title>x</title><main><h1>x</h1><img src=x></main>")
    assert "image-alt" in str(serious(page))
    page.close()

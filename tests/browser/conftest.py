"""Headless Chromium; where there is none the tests say so and skip, unless ROLECALL_REQUIRE_BROWSER is set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

import witness

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip


def chromium_path() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        if os.environ.get("ROLECALL_REQUIRE_BROWSER"):
            pytest.fail("there is no Chromium on PATH, and ROLECALL_REQUIRE_BROWSER asks for one")
        pytest.skip("there is no Chromium on PATH; Debian has it in the package `chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        witness.watch_browser(browser)
        yield browser
        browser.close()

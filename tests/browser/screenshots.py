"""Takes a picture of every page and state, wide and narrow, light and dark: `make screenshots`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path[:0] = [str(Path(__file__).parents[1])]

from browser.conftest import ARGUMENTS, chromium_path
from stack import Stack, running_stack

FOLDER = Path(__file__).parents[2] / "test-results" / "screenshots"
LOOKS = {
    "wide-light": (1280, 800, "light"),
    "wide-dark": (1280, 800, "dark"),
    "narrow-light": (360, 740, "light"),
    "narrow-dark": (360, 740, "dark"),
}


def walk(page: Page, stack: Stack, shot: Callable[[str], None]) -> None:
    """Every page and state, once."""
    page.goto(f"{stack.auth}/")
    shot("auth-home")
    page.goto(f"{stack.auth}/nowhere")
    shot("auth-404")
    page.goto(f"{stack.auth}/authorize?client_id=nobody")
    shot("auth-bad-request")
    page.goto(f"{stack.client}/invoices")
    shot("client-not-connected")
    page.goto(f"{stack.client}/callback?state=x&code=y")
    shot("client-unknown-answer")
    page.goto(f"{stack.client}/")
    shot("client-home")
    page.click("#connect")
    shot("auth-sign-in")
    page.fill("#username", "alice")
    page.fill("#password", "wrong")
    page.click("#login-submit")
    shot("auth-sign-in-wrong")
    page.click("text=Make one")
    shot("auth-sign-up")
    page.fill("#username", "alice")
    page.fill("#password", "long enough")
    page.click("#signup-submit")
    shot("auth-sign-up-taken")
    page.click("main >> text=Sign in")
    page.fill("#username", "alice")
    page.fill("#password", "wonderland-lab")
    page.click("#login-submit")
    shot("auth-consent")
    page.click("#consent-deny")
    shot("client-denied")
    page.goto(f"{stack.client}/")
    page.click("#connect")
    page.click("#consent-allow")
    shot("client-invoices")
    page.click("#ask-jwt")
    page.click("summary")
    shot("client-invoices-jwt")
    page.click("#revoke")
    shot("client-revoked")
    page.click("#refresh")
    shot("client-refreshed")
    page.goto(f"{stack.auth}/apps")
    shot("auth-apps")
    page.click("#disconnect-tally")
    shot("auth-apps-none")
    page.goto(f"{stack.client}/invoices")
    shot("client-refused")
    page.click("#refresh")
    shot("client-refresh-refused")
    page.goto(f"{stack.auth}/sign-out")
    shot("auth-sign-out")


def main() -> None:
    """Start the stack, take the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        for look, (width, height, scheme) in LOOKS.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            page = context.new_page()
            walk(page, stack, lambda name: page.screenshot(path=FOLDER / f"{name}-{look}.png", full_page=True))  # noqa: B023
            context.close()
            print(look)
        browser.close()
    print(FOLDER)


if __name__ == "__main__":
    main()

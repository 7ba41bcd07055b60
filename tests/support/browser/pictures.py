"""The pictures of the README and of docs/: how each is taken, and the hash of the files that it shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, ViewportSize

from support.guides import ROOT
from support.stack import Stack

FOLDER: Final = ROOT / "docs" / "pictures"
MAX_SIZE: Final = 300_000
"""The maximum size of a picture in bytes."""

_SIZE: Final = (1280, 800)
_DEFAULT_PORTS: Final = """(ports) => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        for (const [port, shown] of ports) {
            const text = walker.currentNode.nodeValue;
            walker.currentNode.nodeValue = text.replaceAll(`localhost:${port}`, `localhost:${shown}`);
        }
    }
}"""

_SHARED: Final = (
    "shared/rolecall/templates/rolecall/layout.html",
    "shared/rolecall/static/*.css",
    "lab/rolecall_lab/templates/lab/bar.html",
    "lab/rolecall_lab/static/*.css",
)
_TALLY: Final = (*_SHARED, "client-webapp/rolecall_client/templates/layout.html", "lab/rolecall_lab/templates/client/*")
_DIAGRAM: Final = (
    *_SHARED,
    "lab/rolecall_lab/observer/templates/layout.html",
    *(f"lab/rolecall_lab/observer/templates/observer/{name}.html" for name in ("flow", "diagram", "story")),
    "lab/rolecall_lab/observer/static/*.css",
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture.

    Args:
        sources: patterns of the templates and style sheets that it shows, relative to the root of the repository.
        open: opens what the picture shows, in a browser in which all earlier pictures were taken.
    """

    sources: tuple[str, ...]
    open: Callable[[Page, Stack], None]

    def hash(self) -> str:
        """Return the hash of the names and contents of all sources.

        Raises:
            ValueError: no file matches one of the patterns.
        """
        result = hashlib.sha256()
        for pattern in self.sources:
            files = sorted(path for path in ROOT.glob(pattern) if path.is_file())
            if not files:
                raise ValueError(f"no file matches {pattern}")
            for file in files:
                result.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
        return result.hexdigest()


def _open_home(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.client}/")


def _open_consent(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.client}/")
    page.click("#connect")
    page.fill("#username", "alice")
    page.fill("#password", "wonderland-lab")
    page.click("#login-submit")
    page.wait_for_selector("#consent-allow")


def _open_catalog(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.client}/flows")


def _open_replayed_code(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.client}/flows/replayed_code")
    page.click("#start")
    if page.locator("#consent-allow").count():
        page.click("#consent-allow")
    page.goto(str(page.locator(f"main a[href^='{stack.observer}']").first.get_attribute("href")))
    page.wait_for_selector(".row.response.refused")
    page.locator(".row.response.refused a.message").first.click()
    page.wait_for_selector("#flow.inspected")


def _open_present_mode(page: Page, _stack: Stack) -> None:
    page.goto(f"{page.url.partition('?')[0].partition('#')[0]}?present")
    for _ in range(40):
        if page.locator(".row.now.refused").count():
            return
        page.keyboard.press("ArrowRight")
    raise AssertionError("no slide shows the rejected message")


PICTURES: Final = {
    "tally": Picture((*_TALLY, "client-webapp/rolecall_client/templates/home.html"), _open_home),
    "flows": Picture(
        (*_TALLY, "lab/rolecall_lab/catalog/templates/catalog/flows.html"),
        _open_catalog,
    ),
    "consent": Picture(
        (*_SHARED, *(f"auth-service/rolecall_auth/templates/{name}.html" for name in ("layout", "client", "consent"))),
        _open_consent,
    ),
    "replayed-code": Picture(
        (*_DIAGRAM, "lab/rolecall_lab/observer/templates/observer/inspection.html"), _open_replayed_code
    ),
    "present": Picture((*_DIAGRAM, "lab/rolecall_lab/observer/static/present.js"), _open_present_mode),
}
"""The pictures by name, in the order in which they are taken."""


def take_all(browser: Browser, stack: Stack) -> None:
    """Take all pictures, and write the hash of its sources next to each."""
    FOLDER.mkdir(exist_ok=True)
    ports = {stack.client: "8000", stack.auth: "8001", stack.api: "8002", stack.observer: "8003"}
    shown = [[url.rpartition(":")[2], port] for url, port in ports.items()]
    width, height = _SIZE
    viewport: ViewportSize = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, color_scheme="light", reduced_motion="reduce", bypass_csp=True)
    context.set_default_timeout(10_000)
    page = context.new_page()
    for name, picture in PICTURES.items():
        picture.open(page, stack)
        page.wait_for_load_state()
        page.evaluate(_DEFAULT_PORTS, shown)
        file = FOLDER / f"{name}.png"
        page.screenshot(path=file, animations="disabled")
        hash_file(name).write_text(f"{picture.hash()}\n")
    context.close()


def hash_file(name: str) -> Path:
    """Return the file with the hash of the sources that a picture shows."""
    return FOLDER / f"{name}.sha256"

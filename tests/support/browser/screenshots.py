"""Take a picture of every page in every state: wide, as on a projector, and on a phone, light and dark.

`make screenshots` runs it.

axe-core also checks each page, and the command prints what it finds. First, it renews the pictures of the documents in
docs/pictures; `make screenshots ARGS=pictures` does nothing else.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path[:0] = [str(Path(__file__).parents[2])]

from support.browser.axe import violations
from support.browser.pictures import FOLDER as PICTURES
from support.browser.pictures import take_all
from support.browser.states import seeds, walk, walk_observer
from support.chromium import ARGUMENTS, chromium_path
from support.stack import running_stack

FOLDER = Path(__file__).parents[3] / "test-results" / "screenshots"
TALLEST = 6000
"""The maximum height of a picture in pixels."""
LOOKS = {
    "wide-light": (1440, 900, "light"),
    "wide-dark": (1440, 900, "dark"),
    "projector-light": (1280, 720, "light"),
    "projector-dark": (1280, 720, "dark"),
    "phone-light": (390, 844, "light"),
    "phone-dark": (390, 844, "dark"),
}
MORE = {"phone-320": (320, 640, "light"), "zoomed-180": (180, 370, "light"), "4k": (3840, 2160, "light")}
"""Looks that must be named: `screenshots.py 4k`."""


def take_pictures() -> None:
    """Renew the pictures of the documents."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder) / "stack") as stack,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        take_all(browser, stack)
        browser.close()
    print(PICTURES, flush=True)


def main(looks: list[str]) -> int:
    """Start the stack and take the pictures; return 1 if axe-core finds a serious violation."""
    take_pictures()
    if looks == ["pictures"]:
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    found: dict[str, set[str]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder) / "stack", SEEDS_FILE=str(seeds(Path(folder)))) as stack,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        chosen = {look: {**LOOKS, **MORE}[look] for look in looks or LOOKS}
        context = browser.new_context(bypass_csp=True)
        context.set_default_timeout(10_000)
        page = context.new_page()

        def shot(name: str) -> None:
            page.wait_for_load_state()
            for look, (width, height, scheme) in chosen.items():
                page.set_viewport_size({"width": width, "height": height})
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                page.evaluate("document.querySelector('.paced') || scrollTo(0, 0)")
                overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                tall = page.evaluate("Math.ceil(document.documentElement.getBoundingClientRect().height)")
                is_whole = not look.startswith("projector")  # a room sees only the first screen
                clip = {"x": 0, "y": 0, "width": width, "height": min(tall, TALLEST) if is_whole else height}
                file = FOLDER / f"{name}-{look}.png"
                # without animations, so that the picture shows the final state
                page.screenshot(path=file, full_page=True, clip=clip, animations="disabled")  # type: ignore[arg-type]
                if overflow > 0:
                    found.setdefault(f"serious overflow by {overflow} px", set()).add(f"{name}-{look}")
                for violation in violations(page):
                    found.setdefault(violation, set()).add(f"{name}-{look}")
            print(name, flush=True)

        walk_observer(page, stack, walk(page, stack, Path(folder), shot), shot)
        context.close()
        browser.close()
    for violation, where in sorted(found.items()):
        print(violation, "|", ", ".join(sorted(where)[:6]), f"({len(where)})")
    print(FOLDER)
    return int(any(violation.startswith(("serious", "critical")) for violation in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""axe-core, which finds barriers for people with disabilities."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from playwright.sync_api import Page

SCRIPT = Path(__file__).parents[2] / "vendor" / "axe-core" / "axe.min.js"

_AXE = """
only => axe.run(document, {resultTypes: ['violations'], ...only && {runOnly: [only]}}).then(({violations}) =>
  violations.map(each =>
  `${each.impact} ${each.id}: ${each.help}: ${each.nodes.map(node => node.html.slice(0, 120)).slice(0, 3)}`))
"""

_SETTLED = """() => Promise.all(document.getAnimations()
  .filter(each => each.effect.getComputedTiming().endTime < Infinity).map(each => each.finished.catch(() => null)))
  .then(() => null)"""
"""Waits until no row fades in any more, because axe-core would find too little contrast in it."""


@cache
def _source() -> str:
    return SCRIPT.read_text(encoding="utf-8")


def violations(page: Page, only: str | None = None) -> list[str]:
    """Return the violations that axe-core finds on the page.

    Args:
        only: the one rule to check.
    """
    page.evaluate(_SETTLED)
    page.evaluate(_source())
    found: list[str] = page.evaluate(_AXE, only)
    return found


def serious(page: Page, only: str | None = None) -> list[str]:
    """Return the violations with the impact serious or critical."""
    found = violations(page, only)
    return [each for each in found if each.startswith(("serious", "critical"))]

"""What tests read from Tally's pages, and the buttons that they press there."""

from __future__ import annotations

import re

from rolecall_lab.walker import Page, Walker
from stack import Stack


def statuses(page: Page) -> list[str]:
    """The API's answers on the page with the invoices: one for each way of checking that was asked for."""
    return re.findall(r'<span class="tag (?:yes|no)">(\d+) (?:answered|refused)', page.text)


def press(walker: Walker, page: Page, stack: Stack, path: str) -> Page:
    """Send the page's form to another of Tally's addresses, and follow."""
    return walker.follow(walker.submit(page, f"{stack.client}{path}"))

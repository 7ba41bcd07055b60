"""How much is tried: little in `make test`, as much as FUZZ_REQUESTS says otherwise; and how much was."""

from __future__ import annotations

import os
from collections import Counter

tried: Counter[str] = Counter()
"""Requests that each test has sent."""


def examples(usual: int, requests_each: int = 1) -> int:
    """How many examples a test has, of which each sends about so many requests."""
    asked = int(os.environ.get("FUZZ_REQUESTS", "0"))
    return max(usual, asked // requests_each)

"""The number of examples that the fuzz tests try: few in `make test`, or as many as FUZZ_REQUESTS allows."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import hypothesis
from hypothesis.configuration import set_hypothesis_home_dir

tried: Counter[str] = Counter()
"""Requests that each test has sent."""


def examples(usual: int, requests_each: int = 1) -> int:
    """Return how many examples a test should try if each sends about `requests_each` requests."""
    asked = int(os.environ.get("FUZZ_REQUESTS", "0"))
    return max(usual, asked // requests_each)


def load_profile() -> None:
    """Make Hypothesis try the same examples each time, or others with FUZZ_REQUESTS; never with a time limit."""
    set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "rolecall-hypothesis")
    hypothesis.settings.register_profile(
        "rolecall",
        database=None,
        deadline=None,
        derandomize="FUZZ_REQUESTS" not in os.environ,
        max_examples=max(40, int(os.environ.get("FUZZ_REQUESTS", "0"))),
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
    hypothesis.settings.load_profile("rolecall")

"""`make fuzz`: the hostile corpus against a new stack, then all property, model, and schema tests at volume.

Exit code 1 if there is a finding.

python tests/support/fuzz/run.py --requests 100000
python tests/support/fuzz/run.py --seed SEED --only NUMBER   sends one request of the corpus again
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from support.fuzz.report import Report

ROOT: Final = Path(__file__).resolve().parents[3]

SLOW: Final = 2.0
"""Seconds after which a response to a request of the corpus is too late."""

SHARE: Final = 25
"""Requests of the corpus for each request that one of the other tests sends."""


def main() -> int:
    options = argparse.ArgumentParser(description="Throw hostile requests at the three services.")
    options.add_argument("--requests", type=int, default=100_000)
    options.add_argument("--seed", default=secrets.token_hex(4))
    options.add_argument("--only", type=int, action="append", default=[])
    asked = options.parse_args()
    for folder in ("tests", "lab", "client-webapp", "resource-service", "auth-service", "shared"):
        sys.path.insert(0, str(ROOT / folder))
    began = time.monotonic()
    say(f"seed {asked.seed}")
    report = corpus(asked.requests, asked.seed, asked.only)
    total, wrong = sum(report.tried.values()), bool(report.findings)
    say(f"{total} requests of the corpus in {time.monotonic() - began:.0f} s, {len(report.findings)} findings")
    if not asked.only:
        tried, failed = properties(asked.requests // SHARE, asked.seed)
        total, wrong = total + tried, wrong or failed
    say(f"{total} requests in {time.monotonic() - began:.0f} s, {'findings above' if wrong else 'nothing found'} "
        f"(seed {asked.seed})")  # fmt: skip
    return 1 if wrong else 0


def corpus(requests: int, seed: str, only: Sequence[int]) -> Report:
    """Send the corpus to a new stack, and print a summary."""
    from support.fuzz.attack import WIDE, Attack
    from support.stack import running_stack

    with tempfile.TemporaryDirectory(prefix="rolecall-fuzz-") as folder, running_stack(Path(folder), **WIDE) as stack:
        report = Attack(stack, max(only) + 1 if only else requests, seed, say, only, slow=SLOW).run()
    for name in sorted(report.tried):
        slowest, at = report.slowest[name]
        weights = " ".join(f"{weight / 2**20:.0f}" for weight in report.memory[name])
        say(
            f"{name:17} {report.tried[name]:7} requests; slowest {slowest:.2f} s (#{at}); "
            f"a worker's memory over time, in MB: {weights}"
        )
    say("responses: " + ", ".join(f"{status} {times}" for status, times in sorted(report.statuses.items())))
    say(f"sent again: {', '.join(f'{reason} {times}' for reason, times in report.retried.items()) or 'none'}")
    for when, found in zip(("before", "afterwards"), report.redis, strict=True):
        persistent = len(found.persistent)
        say(f"Redis {when}: {found.used_bytes / 2**20:.0f} MB, {found.keys} keys, {persistent} that never expire")
    return report


def properties(requests_each: int, seed: str) -> tuple[int, bool]:
    """Run the tests of this folder with `requests_each`; return how many requests they sent, and whether one failed."""
    os.chdir(ROOT)
    os.environ["FUZZ_REQUESTS"] = str(requests_each)
    of_corpus = "--ignore=tests/fuzz/test_hostile.py"
    failed = pytest.main(
        ["tests/fuzz", of_corpus, f"--hypothesis-seed={seed}", "--show-capture=no", "--tb=short", "-v"]
    )
    # imported late, because pytest must rewrite the assertions of plugins before Hypothesis is imported
    from support.fuzz.effort import tried

    for name, times in tried.items():
        say(f"{times:7} requests  {name}")
    return sum(tried.values()), failed != 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

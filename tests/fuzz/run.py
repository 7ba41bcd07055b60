"""`make fuzz`: the hostile corpus against a stack of its own. Exit code 1 when anything was found.

python tests/fuzz/run.py --requests 100000
python tests/fuzz/run.py --seed SEED --only NUMBER   sends one of them again
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = argparse.ArgumentParser(description="Throw hostile requests at the three services.")
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--seed", default=secrets.token_hex(4))
    options.add_argument("--only", type=int, action="append", default=[])
    asked = options.parse_args()
    for folder in ("tests", "lab", "client-webapp", "resource-service", "auth-service", "shared"):
        sys.path.insert(0, str(ROOT / folder))
    from fuzz.hostile import WIDE, Attack
    from stack import running_stack

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rolecall-fuzz-") as folder, running_stack(Path(folder), **WIDE) as stack:
        say(f"seed {asked.seed}")
        number = max(asked.requests, *asked.only, 0) + bool(asked.only) if asked.only else asked.requests
        report = Attack(stack, number, asked.seed, say, asked.only).run()
    for name in sorted(report.tried):
        slowest, at = report.slowest[name]
        weights = " ".join(f"{weight / 2**20:.0f}" for weight in report.memory[name])
        say(
            f"{name:17} {report.tried[name]:7} requests; slowest {slowest:.2f} s (#{at}); "
            f"a worker's memory over time, in MB: {weights}"
        )
    say("answers: " + ", ".join(f"{what} {times}" for what, times in sorted(report.statuses.items())))
    say(f"asked again: {', '.join(f'{why} {times}' for why, times in report.again.items()) or 'none'}")
    for when, stored in zip(("before", "afterwards"), report.redis, strict=True):
        say(f"Redis {when}: {stored.used / 2**20:.0f} MB, {stored.keys} keys, {len(stored.lasting)} that never expire")
    total = sum(report.tried.values())
    say(f"{total} requests in {time.monotonic() - began:.0f} s, {len(report.findings)} findings (seed {asked.seed})")
    return 1 if report.findings else 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""The cost of the lab's recorder: processor time per exchange, in this version and in that of COMPARE.

Each version runs in a separate process (`recorded.py`), and all of them take turns in each round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from stores import redis_server
from versions import HERE, Version, compared, of_service

ROUNDS = 12
EXCHANGES = 100
"""The number of exchanges per round and kind, with and without the recorder. Other programs on the machine only make a
round slower, so the fastest of many short ones counts."""

BASELINE = "c18a77b"
"""The commit before the recorder became faster."""

MOST = 0.5
"""The largest ratio to `BASELINE` that is allowed; the ratio to other commits is only reported."""


def main() -> int:
    with compared(os.environ.get("COMPARE", "")) as versions:
        rows, ratio = measure(versions)
    print("\n".join(rows))
    return 1 if is_too_slow(versions, ratio) else 0


def is_too_slow(versions: tuple[Version, ...], ratio: float) -> bool:
    """Return whether the ratio exceeds the limit, after printing an error in that case."""
    if ratio <= MOST or not versions[0].name.startswith(BASELINE):
        return False
    print(f"recorder: {ratio:.2f} times the processor time of {BASELINE}, at most {MOST}", file=sys.stderr)
    return True


def measure(versions: tuple[Version, ...], rounds: int = ROUNDS) -> tuple[list[str], float]:
    """Return the lines of a table, and the ratio of this version to the first one; 0 for a single version."""
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="rolecall-bench-")))
        children = [ends.enter_context(_running(version, folder / str(n))) for n, version in enumerate(versions)]
        kinds = list(_ask(children[0], {"kinds": True}))
        times: dict[str, list[list[list[float]]]] = {kind: [[] for _ in children] for kind in kinds}
        for _ in range(rounds):
            for kind in kinds:
                for number, child in enumerate(children):
                    times[kind][number].append(_ask(child, {"kind": kind, "number": EXCHANGES}))
    costs = {kind: [_cost(each) * 1e6 for each in times[kind]] for kind in kinds}
    costs["all kinds"] = [statistics.fmean(column) for column in zip(*costs.values(), strict=True)]
    names = [f"{version.name}, µs" for version in versions]
    rows = [f"| recorder, per exchange | {' | '.join(names)} | ratio |", "| --- " * (len(names) + 2) + "|"]
    for kind, figures in costs.items():
        ratio = figures[-1] / figures[0]
        cells = [f"{figure:.0f}" for figure in figures]
        rows.append(f"| {kind} | {' | '.join(cells)} | {f'{ratio:.2f}' if len(versions) > 1 else '–'} |")
    return rows, ratio if len(versions) > 1 else 0.0


def _cost(rounds: list[list[float]]) -> float:
    with_recorder, without = (min(each) for each in zip(*rounds, strict=True))
    return with_recorder - without


@contextmanager
def _running(version: Version, folder: Path) -> Iterator[subprocess.Popen[str]]:
    folder.mkdir()
    with redis_server(folder) as redis_url:
        urls = ("http://localhost:8001", "http://localhost:8002", "http://localhost:8000")
        settings = version.settings(folder, redis_url, *urls)
        version.prepare(settings)
        environ = version.environ | of_service("AUTH_SERVICE_", settings)
        environ |= {"CLIENT_SECRET": settings["CLIENT_WEBAPP_CLIENT_SECRET"]}
        environ |= {"RESOURCE_SECRET": settings["RESOURCE_SERVICE_RESOURCE_SECRET"], "LOG_LEVEL": "ERROR"}
        child = subprocess.Popen(
            [sys.executable, str(HERE / "recorded.py")],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield child
        finally:
            child.terminate()
            child.wait(20)


def _ask(child: subprocess.Popen[str], question: dict[str, Any]) -> Any:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(question) + "\n")
    child.stdin.flush()
    return json.loads(child.stdout.readline())


if __name__ == "__main__":
    sys.exit(main())

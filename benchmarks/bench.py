"""Prints the figures that the product promises: `make bench`. Ratios within one run matter more than any figure."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(ROOT / each) for each in ("shared", "auth-service", "resource-service", "client-webapp", "lab", "tests")
]

import psutil

from rolecall_lab.walker import Walker, connect
from stack import Stack, running_stack

ROUNDS = 50


def main() -> None:
    """Measure all of it, in about five minutes; `--quick` leaves out the fresh clone and the tests."""
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        with running_stack(folder):
            rows.append(("start with new databases, all ready", f"{time.monotonic() - began:.1f} s", "–"))
        times = []
        for _ in range(3):
            began = time.monotonic()
            with running_stack(folder) as stack:
                times.append(time.monotonic() - began)
                if len(times) == 3:
                    rows.append(("second start, all ready", f"{statistics.median(times):.1f} s", "2 s"))
                    measure(stack, rows)
    if "--quick" not in sys.argv:
        rows.insert(0, ("`make run` in a fresh clone, warm package cache, to first page", fresh(), "60 s"))
        began = time.monotonic()
        subprocess.run(["make", "test"], cwd=ROOT, check=True, stdout=sys.stderr)
        rows.append(("`make test`", f"{time.monotonic() - began:.0f} s", "180 s"))
    print("| what | measured | goal |\n| --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def measure(stack: Stack, rows: list[tuple[str, str, str]]) -> None:
    """Memory, the flow, and single requests against an empty route of the same server."""
    walker = Walker()
    page = connect(walker, stack.client, "alice", "wonderland-lab")
    flows = []
    for _ in range(ROUNDS):
        page = walker.follow(walker.submit(walker.open(f"{stack.client}/invoices"), f"{stack.client}/disconnect"))
        began = time.monotonic()
        page = walker.follow(walker.submit(page, f"{stack.client}/connect"))
        if 'id="consent-allow"' in page.text:
            page = walker.follow(walker.submit(page, decision="allow"))
        flows.append((time.monotonic() - began) * 1000)
        assert "12 invoices" in page.text
    rows.append(("the flow end to end, signed in already (median)", f"{statistics.median(flows):.0f} ms", "60 ms"))
    base = median_of(walker, f"{stack.auth}/healthz")
    rows.append(("an empty route of the same server (median)", f"{base:.1f} ms = 1.0", "–"))
    for what, url in (
        ("key set", f"{stack.auth}/jwks"),
        ("metadata", f"{stack.auth}/.well-known/oauth-authorization-server"),
        ("connected apps", f"{stack.auth}/apps"),
        ("invoices, token checked by signature", f"{stack.client}/invoices?check=jwt"),
        ("invoices, token checked by asking", f"{stack.client}/invoices?check=introspection"),
    ):
        rows.append((f"{what} (median)", f"{median_of(walker, url) / base:.1f} times an empty route", "–"))
    rows.append(("the three services and Redis (PSS)", f"{memory(stack) / 2**20:.0f} MB", "350 MB"))


def median_of(walker: Walker, url: str) -> float:
    """Milliseconds of one request."""
    times = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        assert walker.open(url).status == 200
        times.append((time.monotonic() - began) * 1000)
    return statistics.median(times)


def memory(stack: Stack) -> float:
    """Bytes, each shared page counted once over those who share it."""
    launcher = psutil.Process(next(iter(stack.pids.values()))).parent()
    assert launcher is not None
    return float(sum(child.memory_full_info().pss for child in launcher.children(recursive=True)))


def fresh() -> str:
    """Clone, `make run`, wait for the first page."""
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name) / "rolecall"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        environ = {**os.environ, "CLIENT_PORT": "0", "AUTH_PORT": "0", "RESOURCE_PORT": "0", "OBSERVER_PORT": "0"}
        began = time.monotonic()
        make = shutil.which("make") or "make"
        started = subprocess.Popen([make, "run"], cwd=clone, env=environ, stdout=subprocess.PIPE, text=True)
        assert started.stdout is not None
        for line in started.stdout:
            if line.startswith("Open"):
                break
        notice = json.loads((clone / ".rolecall" / "running.json").read_text())
        with urllib.request.urlopen(notice["services"]["client-webapp"]["url"], timeout=10) as page:
            assert page.status == 200
        took = time.monotonic() - began
        psutil.Process(notice["pid"]).terminate()
        started.wait(30)
        return f"{took:.0f} s"


if __name__ == "__main__":
    main()

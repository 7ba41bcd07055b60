"""The packages of npm that the tests need, from a cache that `npm ci` fills by the lock."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stack import Stack

NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def node() -> Path:
    """The folder with the scripts and what they need."""
    if shutil.which("npm") is None:
        if os.environ.get("ROLECALL_REQUIRE_BROWSER"):
            pytest.fail("there is no npm: clients that are written in JavaScript are not tested")
        pytest.skip("there is no npm: clients that are written in JavaScript are not tested")
    lock = hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = Path.home() / ".cache" / "rolecall" / f"interop-{lock}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in NODE.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    # npm writes this file last: a folder without it is of a run that was cut off
    if not (folder / "node_modules/.package-lock.json").is_file():
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True, timeout=120
        )
    return folder


@pytest.fixture
def turned(stack: Stack) -> Iterator[str]:
    """Where a test turns the running services' clock, which is turned back when it ends."""
    url = f"{stack.auth}/_lab/clock"
    yield url
    stack.call("DELETE", url, None)

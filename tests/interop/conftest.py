"""The services with three more APIs, the packages from npm, and the report of software that could not be tested."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from rolecall_lab import seeds
from support.foreign import INTEROP, NOT_TESTED, not_tested
from support.stack import Stack, running_stack

NODE = Path(__file__).parent / "node"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the software that could not be installed."""
    if NOT_TESTED:
        terminalreporter.section("software that was not tested")
        for line in sorted({*NOT_TESTED}):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The running services, with the Invoices API and the APIs of `apis.yaml`."""
    folder = tmp_path_factory.mktemp("interop")
    head, clients = seeds.DEFAULT.read_text().split("\nclients:\n", 1)
    (folder / "seeds.yaml").write_text(f"{head}{(INTEROP / 'apis.yaml').read_text()}\nclients:\n{clients}")
    with running_stack(folder / "lab", SEEDS_FILE=str(folder / "seeds.yaml")) as stack:
        yield stack


@pytest.fixture(scope="session")
def node() -> Path:
    """The folder with the scripts and their dependencies."""
    if shutil.which("npm") is None:
        _without_npm("npm not found")
    digest = hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = Path.home() / ".cache" / "rolecall" / f"interop-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        # other processes of this test run, and of other runs, use the same folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(folder)
    return folder


def _install(folder: Path) -> None:
    for file in NODE.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    # npm writes this file last: a folder without it is from an interrupted installation
    if not (folder / "node_modules/.package-lock.json").is_file():
        command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            _without_npm(f"npm ci failed: {done.stderr[-300:]}")


def _without_npm(reason: str) -> NoReturn:
    if os.environ.get("ROLECALL_REQUIRE_BROWSER"):
        pytest.fail(f"software from npm is not tested: {reason}")
    not_tested("software from npm", reason)


@pytest.fixture
def turned(stack: Stack) -> Iterator[str]:
    """The URL at which a test can change the lab's clock, which is reset after the test."""
    url = f"{stack.auth}/_lab/clock"
    yield url
    stack.call("DELETE", url, None)

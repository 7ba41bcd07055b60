"""Third-party software for tests with the running services: installation, registration, start, and a user's visit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import pytest

from rolecall_lab.walker import Page, Walker
from support.stack import Stack

INTEROP: Final = Path(__file__).parents[1] / "interop"

ISSUER: Final = "http://localhost:8001"
"""The address of the authorization server in the configuration files, which are those of docs/clients and docs/apis."""

NOT_TESTED: Final[list[str]] = []
"""Software that could not be installed, with the reason; the summary of the test run lists it."""


def not_tested(software: str, reason: str) -> NoReturn:
    """Skip a test, because the software cannot be installed here; fail instead if ROLECALL_REQUIRE_INTEROP is set."""
    NOT_TESTED.append(f"{software}: {reason}")
    if os.environ.get("ROLECALL_REQUIRE_INTEROP"):
        pytest.fail(f"{software} is not tested: {reason}")
    pytest.skip(f"{software} is not tested: {reason}")


def require(software: str, *programs: str) -> None:
    """Skip the test unless the programs are installed."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        not_tested(software, f"{' and '.join(missing)} not found")


def installed(software: str, source: Path, *commands: Sequence[str], timeout: int = 600) -> Path:
    """Return a cached copy of a folder of tests/interop in which the commands have run, once for each content.

    Args:
        commands: install what the folder's lock files name, for example `["npm", "ci"]`.
        timeout: seconds for each command.
    """
    files = sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    content = hashlib.sha256(b"".join(str(path.relative_to(source)).encode() + path.read_bytes() for path in files))
    folder = Path.home() / ".cache" / "rolecall" / f"interop-{source.name}-{content.hexdigest()[:16]}"
    finished = folder / ".installed"
    if not finished.exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for command in commands:
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False)
            except subprocess.TimeoutExpired:
                not_tested(software, f"{' '.join(command)} did not end within {timeout} s")
            if done.returncode:
                not_tested(software, f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-300:]}")
        finished.touch()
    return folder


def register(stack: Stack, **metadata: Any) -> dict[str, Any]:
    """Register a client (RFC 7591 section 3.1) and return its information."""
    body = json.dumps(metadata).encode()
    status, information = stack.call("POST", f"{stack.auth}/register", body, Content_Type="application/json")
    assert status == 201, information
    return information


def configuration(text: str, stack: Stack, replacements: Mapping[str, str] | None = None) -> str:
    """Return a configuration file with the addresses of the running services and further replacements."""
    for old, new in {ISSUER: stack.auth, "http://localhost:8002": stack.api, **(replacements or {})}.items():
        text = text.replace(old, new)
    return text


class ForeignProcess:
    """A program that runs during a test.

    Args:
        output: the file with its output.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        """Return its output so far."""
        return self._output.read_text(errors="replace")


@contextmanager
def running(
    command: Sequence[str], ready_url: str, *, cwd: Path | None = None, seconds: float = 120, **environ: str
) -> Iterator[ForeignProcess]:
    """Run a program until the end of the block; wait until its URL returns any HTTP response."""
    with tempfile.TemporaryDirectory(prefix="rolecall-") as folder:
        output = Path(folder) / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=cwd, env={**os.environ, **environ}, stdout=file, stderr=subprocess.STDOUT
            )
        program = ForeignProcess(process, output)
        try:
            end = time.monotonic() + seconds
            while not _responds(ready_url):
                assert process.poll() is None, f"{command[0]} ended: {program.output[-3000:]}"
                assert time.monotonic() < end, f"{command[0]} is not ready: {program.output[-3000:]}"
                time.sleep(0.1)
            yield program
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def _responds(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


class Person(Walker):
    """A person with a browser, who signs in at the authorization server and allows what an app requests."""

    def __init__(self, stack: Stack, username: str = "alice", password: str = "wonderland-lab") -> None:
        super().__init__()
        self._stack = stack
        self._credentials = {"username": username, "password": password}

    def visit(self, url: str, stop: Callable[[str], bool] = lambda _url: False) -> Page:
        """Open a URL, follow every redirect, sign in and allow where asked, and return the last page.

        Args:
            stop: do not open a URL for which this is true; return the page that redirects to it.
        """
        page = self.open(url)
        for _ in range(30):
            if page.location is not None:
                if stop(page.location):
                    return page
                page = self.open(page.location)
            elif self._is_ours(page) and 'id="login-submit"' in page.text:
                page = self.submit(page, **self._credentials)
            elif self._is_ours(page) and 'id="consent-allow"' in page.text:
                page = self.submit(page, decision="allow")
            else:
                return self.follow(page)
        raise AssertionError(f"too many redirects, the last one at {page.url}")

    def _is_ours(self, page: Page) -> bool:
        return urlsplit(page.url).netloc == urlsplit(self._stack.auth).netloc

"""The three services as `make run` starts them, on free ports and in a folder of the test run."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil

from rolecall_lab.launcher.environment import inherited
from rolecall_lab.walker import LocalNames
from support import witness
from support.databases import of_stack

T = TypeVar("T")


@dataclass(frozen=True)
class Stack:
    """Addresses and process IDs of running services.

    Args:
        workers: the number of worker processes of all three services together.
        environ: the environment variables that commands for this stack need.
    """

    folder: Path
    client: str
    auth: str
    api: str
    redis_url: str
    pids: dict[str, int]
    workers: int = 6
    environ: Mapping[str, str] = field(default_factory=dict)
    observer: str = ""

    @property
    def base(self) -> str:
        """Return the path of the issuer, which is usually empty."""
        return urlsplit(self.auth).path

    def log(self, service: str) -> str:
        """Return the log of a service."""
        return (self.folder / "logs" / f"{service}.log").read_text()

    def get(self, url: str, **headers: str) -> tuple[int, dict[str, Any]]:
        return self.call("GET", url, None, **headers)

    def call(self, method: str, url: str, body: bytes | None, **headers: str) -> tuple[int, dict[str, Any]]:
        """Send a request; return the status and the JSON object of the response. Raise an OSError if it is cut off."""
        request = urllib.request.Request(
            url, body, {name.replace("_", "-"): value for name, value in headers.items()}, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), LocalNames())
        try:
            try:
                with opener.open(request, timeout=60) as answer:
                    return answer.status, json.loads(answer.read() or b"{}")
            except urllib.error.HTTPError as error:
                with error:
                    text = error.read()
                    return error.code, json.loads(text) if text.startswith(b"{") else {}
        except http.client.HTTPException as error:
            raise ConnectionResetError(str(error)) from error

    def events(self) -> list[dict[str, Any]]:
        _, answer = self.get(f"{self.client}/_lab/events")
        events: list[dict[str, Any]] = answer["events"]
        return events


def lab_command(stack: Stack, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the lab's commands against a stack, such as `demo`."""
    return subprocess.run(
        [sys.executable, "-m", f"rolecall_lab.{module}", *arguments],
        env={**inherited(os.environ), **stack.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running_stack(folder: Path, **environ: str) -> Iterator[Stack]:
    """Start a stack, wait until it is ready, and stop it at the end; if it does not start, raise its output."""
    witness.folders.append(folder)
    own = {"ROLECALL_DIR": str(folder), **of_stack()}
    started = subprocess.Popen(
        [sys.executable, "-m", "rolecall_lab.launcher.run"],
        env={
            **inherited(os.environ),
            **own,
            **dict.fromkeys(("CLIENT_PORT", "AUTH_PORT", "RESOURCE_PORT", "OBSERVER_PORT"), "0"),
            "REDIS_URL": "",
            **environ,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert started.stdout is not None
    said = []
    try:
        for line in started.stdout:
            said.append(line)
            if line.startswith("Open"):
                break
        else:
            raise RuntimeError("the stack did not start: " + "".join(said))
        notice = json.loads((folder / "running.json").read_text())
        services = notice["services"]
        yield Stack(
            folder,
            services["client-webapp"]["url"],
            services["auth-service"]["url"],
            services["resource-service"]["url"],
            notice["redis_url"],
            {name: service["pid"] for name, service in services.items()},
            environ=own,
            observer=services["lab-observer"]["url"],
        )
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(60)
        except subprocess.TimeoutExpired:
            started.kill()
        started.stdout.close()


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """Suspend a process and its children, so that connections stay open and no response comes."""
    service = psutil.Process(pid)
    processes = [service, *service.children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def wait_until(is_true: Callable[[], T], seconds: float = 60.0) -> T:
    """Repeat a check until its value is true, and return the value.

    Each pause is as long as the check took, so slow checks run less often.
    """
    end = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if value := is_true():
            return value
        if (now := time.monotonic()) > end:
            raise AssertionError(f"not true within {seconds:.0f} s")
        time.sleep(max(0.02, min(now - began, 1.0)))

"""Servers that the test run starts, and ports for them."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import redis

from rolecall_lab.launcher import redis_server


class RedisServer:
    """A Redis for the test run on a private Unix socket, which tests can start and stop."""

    def __init__(self, folder: Path, maxmemory: str = "0") -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._maxmemory = maxmemory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [redis_server.find()[0], "--port", "0", "--unixsocket", str(self.socket), "--save", "",
             "--appendonly", "no",
             "--maxmemory", self._maxmemory, "--maxmemory-policy", "noeviction", "--dir", str(self.socket.parent)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        client = redis.Redis.from_url(self.url)
        for _ in range(500):
            try:
                client.ping()
                break
            except redis.RedisError:
                time.sleep(0.01)
        else:
            raise RuntimeError("the test run's Redis did not start")
        client.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""The base of both models: each run has a new server, and a clock that only moves when a step moves it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from rolecall import clock
from support.auth_server import WIDE, Server, close, make_server, make_settings, opened


@dataclass
class Where:
    """The fixtures that a run needs from pytest."""

    folder: Path
    redis_url: str
    runs: int = field(default=0)


class Machine(RuleBasedStateMachine):
    """A model whose rules send a request, check the response, and update the model."""

    where: Where
    server: Server

    def begin(self) -> None:
        """Start an empty server on an empty Redis, with wide throttles."""
        clock.set_offset(0)
        redis.Redis.from_url(self.where.redis_url).flushall()
        self.where.runs += 1
        folder = self.where.folder / str(self.where.runs)
        folder.mkdir()
        self.server = make_server(make_settings(folder, self.where.redis_url, **WIDE))
        self.settings = self.server.services.settings

    def teardown(self) -> None:
        """Close the server; Hypothesis calls this after each run."""
        if hasattr(self, "server"):
            opened.remove(self.server.services)
            close(self.server.services)
        clock.set_offset(0)


def run(model: type[Machine], where: Where, monkeypatch: pytest.MonkeyPatch, *, times: int, steps: int) -> None:
    """Run a model `times` times, with up to `steps` steps each."""
    began = int(clock.now())
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: began, monotonic=time.monotonic))
    machine = type("Machine", (model,), {"where": where})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine, settings=settings(max_examples=times, stateful_step_count=steps)
    )

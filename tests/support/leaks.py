"""A pytest plugin that searches all logs for the secrets that the tests used, after the last test.

Each process looks through its own log records. The logs of processes that tests started are read once, at the end,
and searched for the secrets of every process, because tests in several processes may use one stack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support import containers, witness

_REPORT = pytest.StashKey[dict[str, Any]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = {"seen": set(), "folders": set(), "leaks": []}
    witness.watch()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Merge the report of a pytest-xdist worker; a worker that crashed has no report."""
    sent = getattr(node, "workeroutput", {}).get("leaks")
    if sent:
        _merge(node.config.stash[_REPORT], **sent)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    report = session.config.stash[_REPORT]
    own = [[held, line] for held, line in witness.leaks(iter(witness.lines))]
    _merge(report, [*witness.seen], [*map(str, witness.folders)], own)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["leaks"] = {name: [*values] for name, values in report.items()}
        return
    witness.seen.update(report["seen"])
    lines = [line for folder in sorted(report["folders"]) for line in witness.logged_in(Path(folder))]
    if containers.asked_for() and report["seen"]:
        lines += containers.docker("compose", "logs", "--no-log-prefix").splitlines()
    report["leaks"] += [[held, line] for held, line in witness.leaks(iter(lines))]
    if report["leaks"]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    leaks = config.stash[_REPORT]["leaks"]
    if leaks:
        terminalreporter.section("secrets in logs", red=True, bold=True)
        for held, line in leaks[:20]:
            terminalreporter.line(f"{held}: {line}")
        terminalreporter.line(f"{len(leaks)} log lines contain a secret; the run fails", red=True)


def _merge(report: dict[str, Any], seen: list[str], folders: list[str], leaks: list[list[str]]) -> None:
    report["seen"].update(seen)
    report["folders"].update(folders)
    report["leaks"] += leaks

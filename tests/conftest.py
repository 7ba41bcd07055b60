"""The setup of every test: the fixtures of `support`, the right marks, a clock that is turned back, and a search for
leaked secrets at the end.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from rolecall import clock
from rolecall_auth.models import revocation_rebuild
from support import containers
from support.fuzz import effort

pytest_plugins = ["pytester", "support.fixtures", "support.leaks"]


def pytest_configure() -> None:
    effort.load_profile()
    # on a busy machine, even an empty rebuild can take longer than the second that requests wait for it
    vars(revocation_rebuild)["REBUILD_WAIT"] = 30.0


def pytest_xdist_auto_num_workers() -> int:
    """Use one process more than there are cores, because most tests sometimes wait for a service, browser, or Redis."""
    return min((os.cpu_count() or 1) + 1, 8)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in its own hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if containers.asked_for():
        mark, reason = "embedded", "needs the processes that `make run` starts"
    else:
        mark, reason = "compose", "needs `make up`; `make test-compose` runs it"
    for item in items:
        if item.get_closest_marker(mark):
            item.add_marker(pytest.mark.skip(reason=reason))
        if group := shared_fixture(item):
            item.add_marker(pytest.mark.xdist_group(group))


def shared_fixture(item: pytest.Item) -> str | None:
    """Return the group of tests that one process of pytest-xdist must run, because they share an expensive fixture.

    The tests that use `stack` form two groups, with and without a browser, each in a process with its own stack.
    """
    fixtures = getattr(item, "_fixtureinfo", None)
    if fixtures is None or item.get_closest_marker("xdist_group"):
        return None
    if {"stack", "site"} & {*fixtures.names_closure}:
        return "browser" if item.get_closest_marker("browser") else "stack"
    for name in ("quiet_stack", "lab"):
        if name in fixtures.names_closure:
            return name
    scopes = {made.scope for makers in fixtures.name2fixturedefs.values() for made in makers}
    return item.nodeid.partition("::")[0] if scopes & {"module", "package"} else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the containers' logs to the report of a failure."""
    report = yield
    if report.failed and containers.asked_for():
        report.sections.append(("logs of the containers", containers.told_since(call.start - 1)))
    return report


@pytest.fixture(autouse=True)
def _clock_turned_back() -> Iterator[None]:
    yield
    clock.set_offset(0)

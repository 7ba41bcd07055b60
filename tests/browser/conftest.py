"""The lab in a browser, with either value of HOSTS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from support import containers
from support.chromium import ARGUMENTS, chromium_path
from support.stack import Stack, running_stack


@pytest.fixture(scope="session")
def rebound(chromium: Browser) -> Iterator[Browser]:
    """A browser for which evil.example resolves to this machine."""
    rule = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    browser = chromium.browser_type.launch(executable_path=chromium_path(), args=[*ARGUMENTS, rule])
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def stack_of_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The lab on three separate sites, `app.localhost` and so on."""
    with running_stack(tmp_path_factory.mktemp("names"), HOSTS="localhost-names") as running:
        assert running.client.startswith("http://app.localhost:")
        yield running


@pytest.fixture(
    params=["localhost", pytest.param("localhost-names", marks=[pytest.mark.long, pytest.mark.xdist_group("names")])]
)
def site(request: pytest.FixtureRequest) -> Stack:
    names = request.param == "localhost-names"
    if containers.asked_for():
        running = containers.stack()
        if running.client.startswith("http://app.localhost:") != names:
            pytest.skip("the containers use the other host names")
        return running
    started: Stack = request.getfixturevalue("stack_of_names" if names else "stack")
    return started

"""The lab's navigation bar: on every page of the four services, and on none of production."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rolecall_lab import bar
from rolecall_lab.settings import LabSettings, Role
from rolecall_lab.walker import Walker
from rolecall_resource.models import Profile
from support.auth_server import Server
from support.invoices_api import an_api
from support.stack import Stack
from support.tally import Tally

LABELS = ["Tally", "Accounts", "API", "Observer", "Catalog", "Compare", "Docs"]


def marked(page: str) -> list[tuple[str, str]]:
    """Return the current entries of the bar with their marks, and check that both lists of it are equal."""
    wide, narrow = re.findall(r'<nav[^>]* aria-label="Lab">(.*?)</nav>', page, re.DOTALL)
    assert wide == narrow
    assert re.findall(r"<a [^>]*>(.*?)</a>", wide) == LABELS
    return [(label, mark) for mark, label in re.findall(r'<a [^>]*aria-current="(\w+)">(.*?)</a>', wide)]


@pytest.mark.parametrize(
    ("role", "path", "current"),
    [
        ("client", "/", ("Tally", "page")),
        ("client", "/invoices", ("Tally", "true")),
        ("client", "/flows", ("Catalog", "page")),
        ("client", "/flows/replayed_code", ("Catalog", "true")),
        ("client", "/flowsheet", ("Tally", "true")),
        ("client", "/compare", ("Compare", "page")),
        ("authorization_server", "/sign-in", ("Accounts", "true")),
        ("resource_server", "/", ("API", "page")),
        ("observer", "/flows/0123456789abcdef", ("Observer", "true")),
        ("observer", "/docs/", ("Docs", "page")),
        ("observer", "/docs/security", ("Docs", "true")),
    ],
)
def test_one_entry_is_current(
    role: Role, path: str, current: tuple[str, str], settings: Callable[..., LabSettings]
) -> None:
    entries = bar.places(settings(role, observer_url="http://localhost:8003"), path)
    assert [entry.label for entry in entries] == LABELS
    assert [(entry.label, entry.current) for entry in entries if entry.current] == [current]


def test_without_an_observer_there_are_no_links_to_it(settings: Callable[..., LabSettings]) -> None:
    labels = [entry.label for entry in bar.places(settings("client"), "/")]
    assert labels == [label for label in LABELS if label not in {"Observer", "Docs"}]


def test_every_page_of_the_lab_has_it(quiet_stack: Stack) -> None:
    pages = {
        f"{quiet_stack.client}/": ("Tally", "page"),
        f"{quiet_stack.client}/invoices": ("Tally", "true"),
        f"{quiet_stack.client}/me": ("Tally", "true"),
        f"{quiet_stack.client}/callback": ("Tally", "true"),
        f"{quiet_stack.client}/nothing": ("Tally", "true"),
        f"{quiet_stack.client}/flows": ("Catalog", "page"),
        f"{quiet_stack.client}/flows/replayed_code": ("Catalog", "true"),
        f"{quiet_stack.client}/flows/nothing": ("Catalog", "true"),
        f"{quiet_stack.client}/compare": ("Compare", "page"),
        f"{quiet_stack.auth}/": ("Accounts", "page"),
        f"{quiet_stack.auth}/sign-in": ("Accounts", "true"),
        f"{quiet_stack.auth}/sign-up": ("Accounts", "true"),
        f"{quiet_stack.auth}/authorize": ("Accounts", "true"),
        f"{quiet_stack.auth}/authorize?client_id=nobody": ("Accounts", "true"),
        f"{quiet_stack.auth}/nothing": ("Accounts", "true"),
        f"{quiet_stack.api}/": ("API", "page"),
        f"{quiet_stack.api}/invoices": ("API", "true"),
        f"{quiet_stack.api}/nothing": ("API", "true"),
        f"{quiet_stack.observer}/": ("Observer", "page"),
        f"{quiet_stack.observer}/flows/nothing": ("Observer", "true"),
        f"{quiet_stack.observer}/nothing": ("Observer", "true"),
    }
    walker = Walker()
    assert {url: marked(walker.open(url).text) for url in pages} == {url: [mark] for url, mark in pages.items()}
    walker.submit(walker.open(f"{quiet_stack.auth}/sign-in"), username="alice", password="wonderland-lab")
    assert marked(walker.open(f"{quiet_stack.auth}/apps").text) == [("Accounts", "true")]


def test_the_links_lead_to_pages(quiet_stack: Stack) -> None:
    page = Walker().open(f"{quiet_stack.client}/").text
    links = re.findall(r'<li><a href="([^"]+)"', page)[: len(LABELS) - 1]  # the documentation may not be built
    assert [Walker().open(link).status for link in links] == [200] * len(links)


def test_an_embedded_page_has_none(quiet_stack: Stack) -> None:
    page = Walker().open(f"{quiet_stack.observer}/flows/nothing?embedded").text
    assert "<header" not in page
    assert '<base target="_blank">' in page


def test_production_has_none(server: Server, tally: Tally, tmp_path: Path) -> None:
    with an_api(tmp_path, Profile(owner_sub="alice", name="Alice Liddell", email=None)) as api:
        for app in (server.app, tally.app, api.app):
            for path in ("/", "/nothing"):
                page = app.test_client().get(path, headers={"Accept": "text/html"}).text
                assert '<header class="bar">' in page
                assert page.count("<nav ") == 1
                assert "/static/lab/" not in page
                assert "Catalog" not in page
            assert app.test_client().get("/static/lab/lab.css").status_code == 404

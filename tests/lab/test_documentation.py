"""The documentation site below `/docs/` of the observer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from rolecall_lab.observer import app as observer
from rolecall_lab.observer import site
from rolecall_lab.settings import LabSettings


@pytest.fixture
def browser(settings: Callable[..., LabSettings]) -> Iterator[FlaskClient]:
    app = observer.create_app(settings("observer"))
    yield app.test_client()
    app.extensions["observer"].tail.stop()


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site, next to a file that is not part of it."""
    folder = tmp_path / "_site"
    (folder / "clients").mkdir(parents=True)
    (folder / "_static").mkdir()
    (folder / "README.html").write_text("<h1>All pages</h1>")
    (folder / "clients" / "README.html").write_text("<h1>Clients</h1>")
    (folder / "_static" / "site.css").write_text("body {}")
    (tmp_path / "secret.txt").write_text("not part of the site")
    monkeypatch.setattr(site, "SITE", folder)
    return folder


@pytest.mark.parametrize(
    ("path", "text", "media_type"),
    [
        ("/docs/", "All pages", "text/html"),
        ("/docs/README.html", "All pages", "text/html"),
        ("/docs/clients/", "Clients", "text/html"),
        ("/docs/_static/site.css", "body {}", "text/css"),
    ],
)
def test_files_of_the_site(browser: FlaskClient, built: Path, path: str, text: str, media_type: str) -> None:
    with browser.get(path) as response:
        assert (response.status_code, response.mimetype) == (200, media_type)
        assert text in response.text
        policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "/docs/../secret.txt",
        "/docs/%2e%2e/secret.txt",
        "/docs/..%2fsecret.txt",
        "/docs//secret.txt",
        "/docs/%2fetc/hosts",
    ],
)
def test_no_file_outside_the_site(browser: FlaskClient, built: Path, path: str) -> None:
    response = browser.get(path, follow_redirects=True)
    assert response.status_code == 404
    assert "not part of the site" not in response.text


def test_a_missing_page(browser: FlaskClient, built: Path) -> None:
    response = browser.get("/docs/nothing.html")
    assert response.status_code == 404
    assert 'href="/docs/"' in response.text


@pytest.mark.parametrize("path", ["/docs/", "/docs/settings.html"])
def test_before_the_site_is_built(
    browser: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(site, "SITE", tmp_path)
    response = browser.get(path)
    assert response.status_code == 200
    assert "make docs-site" in response.text

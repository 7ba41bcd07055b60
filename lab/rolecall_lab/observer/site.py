"""The documentation site that `make docs-site` built, below `/docs/`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flask import Response, render_template, request, send_from_directory
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from rolecall.web.errors import PageError, Problem

SITE: Path = Path(__file__).parents[3] / "docs" / "_site"
"""The folder with the built site: in a checkout, and in the containers, which mount `docs` at `/docs`."""

PREFIX: Final = "/docs/"

_START: Final = "README.html"
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""As for other pages of the observer; the theme's style sheet contains its icons as `data:` URLs."""


def documentation(path: str = "") -> ResponseReturnValue:
    """GET /docs/<path>: a file of the site; a path of a folder stands for its first page."""
    if not (SITE / _START).is_file():
        return render_template("observer/no_documentation.html")
    name = f"{path}{_START}" if not path or path.endswith("/") else path
    try:
        return send_from_directory(SITE, name, max_age=0)  # the site may be built again
    except NotFound:
        text = f"The documentation has no page at {PREFIX}{path}."
        raise PageError(Problem(404, "Page not found", text, (("All pages", PREFIX),))) from None


def set_policy(response: Response) -> Response:
    """Set the Content-Security-Policy of the site's files; the site has no inline scripts and styles."""
    if request.endpoint in {"documentation", "documentation-file"}:
        response.headers["Content-Security-Policy"] = _POLICY
    return response

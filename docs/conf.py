"""The configuration of the site that `make docs-site` builds with Sphinx, MyST, and the theme Furo.

The lab serves the site without internet access and with a strict Content-Security-Policy, so every script and style
sheet is a file of the site.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent

project = "Rolecall"
html_title = project
extensions = ["myst_parser"]
root_doc = "README"
exclude_patterns = ["_site"]
myst_heading_anchors = 4
html_theme = "furo"
html_theme_options = {"top_of_page_buttons": [], "announcement": '<a href="/">Back to the observer</a>'}
html_favicon = "../shared/rolecall/static/icon.svg"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_use_index = False
html_domain_indices = False

NAVIGATION: Final = {
    "Use it": ("clients/README", "apis/README", "testing/README", "presenting"),
    "Run it": ("containers", "production", "settings", "reliability", "performance"),
    "Understand it": (
        "glossary",
        "observer",
        "architecture",
        "security",
        "asvs",
        "interoperability",
        "specifications",
    ),
}
"""The pages in the navigation, by heading. Sphinx reports a page that is missing here."""

_FOLDERS: Final = ("clients/README", "apis/README")
_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_STYLE: Final = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_STYLED: Final = re.compile(r' style="([^"]*)"')
_INLINE: Final = re.compile(r"<script>|<style>| style=| on[a-z]+=\"")


def setup(app: Any) -> None:
    """Register what differs from Sphinx's defaults."""
    app.connect("source-read", _read)
    app.connect("build-finished", _move_inline_code)


def _read(_app: Any, name: str, source: list[str]) -> None:
    """Add the navigation, and print the paths of files outside the site instead of links to them."""
    source[0] = _LINK.sub(lambda match: _link(HERE / name, match), source[0])
    if name == root_doc:
        for caption, pages in NAVIGATION.items():
            existing = [page for page in pages if (HERE / f"{page}.md").exists()]
            source[0] += _toctree(f":caption: {caption}", *existing)
    elif name in _FOLDERS:
        source[0] += _toctree(":glob:", "*")


def _toctree(option: str, *pages: str) -> str:
    return "\n".join(["", "```{toctree}", ":hidden:", ":maxdepth: 1", option, "", *pages, "```", ""])


def _link(page: Path, match: re.Match[str]) -> str:
    target = (page.parent / match[2]).resolve()
    if target.is_relative_to(HERE):
        return match[0]
    path = f"`{target.relative_to(HERE.parent)}`"
    return path if match[1] in {target.name, path} else f"{match[1]} ({path})"


def _move_inline_code(app: Any, error: Exception | None) -> None:
    """Move inline scripts and styles to files, which the Content-Security-Policy of the lab allows.

    Raises:
        ValueError: a page still has inline code.
    """
    if error is not None:
        return
    site = Path(app.outdir)
    styles: dict[str, str] = {}

    def moved(root: str, code: str, extension: str) -> str:
        name = f"{hashlib.sha256(code.encode()).hexdigest()[:12]}.{extension}"
        (site / "_static" / name).write_text(code, encoding="utf-8")
        return f"{root}_static/{name}"

    def styled(match: re.Match[str]) -> str:
        name = f"inline-{hashlib.sha256(match[1].encode()).hexdigest()[:8]}"
        styles[name] = match[1]
        return f' data-style="{name}"'

    for page in site.rglob("*.html"):
        root = "../" * (len(page.relative_to(site).parts) - 1)
        text = page.read_text(encoding="utf-8")
        text = _SCRIPT.sub(lambda match: f'<script src="{moved(root, match[1], "js")}"></script>', text)  # noqa: B023
        text = _STYLE.sub(lambda match: f'<link rel="stylesheet" href="{moved(root, match[1], "css")}">', text)  # noqa: B023
        text = _STYLED.sub(styled, text)
        if _INLINE.search(text):
            raise ValueError(f"{page} has inline code, which the lab's Content-Security-Policy forbids")
        page.write_text(text, encoding="utf-8")
    rules = "".join(f'[data-style="{name}"] {{ {style} }}\n' for name, style in sorted(styles.items()))
    css = site / "_static" / "site.css"
    css.write_text(css.read_text(encoding="utf-8") + rules, encoding="utf-8")

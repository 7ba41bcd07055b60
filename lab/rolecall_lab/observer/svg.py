"""A flow's picture as SVG: for the page, with links and CSS classes, and as a self-contained file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rolecall_lab.observer.drawing import Drawing, View
from rolecall_lab.observer.picture import Picture
from rolecall_lab.observer.shapes import shape_path
from rolecall_lab.observer.values import Value

_HERE: Final = Path(__file__).parent
_STYLE: Final = (_HERE / "static" / "picture.css").read_text()
_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_MACROS: Final = _ENVIRONMENT.get_template("observer/picture.svg").module


def head(picture: Picture, view: View) -> Markup:
    """Draw the lanes' titles as a separate SVG, which the page keeps in view."""
    return _render("head", Drawing(picture, view))


def body(picture: Picture, view: View) -> Markup:
    """Draw everything below the lanes' titles."""
    return _render("body", Drawing(picture, view))


def file(picture: Picture, view: View, title: str) -> Markup:
    """Draw the whole picture as one SVG that contains its style sheet."""
    return _render("file", Drawing(picture, view), title, _STYLE)


def mark(value: Value) -> Markup:
    """Draw a value's mark, its shape in its color, for a view box of 16 by 16."""
    return _render("mark", value.color, shape_path(value.shape, 8, 8, 6))


def _render(macro: str, *arguments: object) -> Markup:
    markup: Markup = getattr(_MACROS, macro)(*arguments)
    return markup

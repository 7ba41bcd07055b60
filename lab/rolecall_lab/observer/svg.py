"""A flow's picture as a self-contained SVG file, and the marks of its values."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rolecall_lab.observer.drawing import Drawing
from rolecall_lab.observer.picture import Picture
from rolecall_lab.observer.shapes import shape_path
from rolecall_lab.observer.values import Value

_HERE: Final = Path(__file__).parent
_STYLE: Final = "".join((_HERE / "static" / name).read_text() for name in ("colors.css", "picture.css"))
_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_MACROS: Final = _ENVIRONMENT.get_template("observer/picture.svg").module


def file(picture: Picture, title: str) -> Markup:
    """Draw the whole picture as one SVG that contains its style sheet."""
    return _render("file", Drawing(picture), title, _STYLE)


def mark(value: Value) -> Markup:
    """Draw a value's mark, its shape in its color, for a view box of 16 by 16."""
    return _render("mark", value.color, shape_path(value.shape, 8, 8, 6))


def _render(macro: str, *arguments: object) -> Markup:
    markup: Markup = getattr(_MACROS, macro)(*arguments)
    return markup

"""The SVG paths of the shapes that mark the values of a flow."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi, sin


def shape_path(name: str, x: float, y: float, size: float) -> str:
    """Return the path data of a shape, such as `circle`, centered at (x, y)."""
    if name == "circle":
        return f"M{x - size:.1f} {y:.1f}a{size} {size} 0 1 0 {2 * size} 0a{size} {size} 0 1 0 {-2 * size} 0Z"
    if name == "cross":
        return _cross(x, y, size)
    corners = ((x + radius * sin(angle), y - radius * cos(angle)) for angle, radius in _corners(name, size))
    points = "L".join(f"{corner_x:.1f} {corner_y:.1f}" for corner_x, corner_y in corners)
    return f"M{points}Z"


def _cross(x: float, y: float, size: float) -> str:
    half_width = size / 2.6
    arm = size - half_width
    steps = [("v", arm), ("h", arm), ("v", 2 * half_width), ("h", -arm), ("v", arm), ("h", -2 * half_width)]
    steps += [("v", -arm), ("h", -arm), ("v", -2 * half_width), ("h", arm), ("v", -arm)]
    outline = "".join(f"{command}{length:.1f}" for command, length in steps)
    return f"M{x - half_width:.1f} {y - size:.1f}h{2 * half_width:.1f}{outline}Z"


def _corners(name: str, size: float) -> Iterator[tuple[float, float]]:
    """Yield the angle (clockwise from the top, in radians) and the radius of each corner."""
    if name == "star":
        for number in range(10):
            yield number * pi / 5, size * (1.25 if number % 2 == 0 else 0.55)
        return
    corners, rotation, radius = {
        "diamond": (4, 0.0, 1.2),
        "triangle": (3, 0.0, 1.25),
        "hexagon": (6, 0.0, 1.1),
        "square": (4, pi / 4, 1.25),
    }[name]
    for number in range(corners):
        yield rotation + number * 2 * pi / corners, size * radius

"""A picture as SVG: for the page, with links and classes, and as a file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import cos, pi, sin
from pathlib import Path
from typing import Any, Final

from rolecall_lab.observer.picture import NAMES, STORES, Lane, Picture, Row, title_of
from rolecall_lab.observer.texts import text_of
from rolecall_lab.observer.values import MOST_NAME, Value

PITCH: Final = 252
"""Pixels from lane to lane, as all numbers here."""

EDGE: Final = 132
HEAD: Final = 58
TITLE: Final = 46
MOST_CHIPS: Final = 12
"""Of a message."""

CHARACTER: Final = 8.4
"""Width of a character of the labels, about."""

SMALL: Final = 6.9
"""Width of one of the notes."""

BOLD: Final = 1.12
"""How much wider bold ones are."""

MOST_NOTED: Final = 76
"""Characters of a line of a note."""

MOST_FACT: Final = 28
"""Characters of what a check expected, and of what there was."""

MOST_TITLE: Final = 21
"""Characters of a lane's name; somebody else's is a host."""

_STYLE: Final = (Path(__file__).parent / "static" / "picture.css").read_text()


@dataclass(frozen=True, slots=True)
class View:
    """What of a picture is shown.

    Args:
        stores: lanes of their own for Redis and SQL, instead of notes.
        checks: each check by its name, instead of their number.
        link: the address of a message's page with `{}` for its number; without it there are no links.
    """

    stores: bool = False
    checks: bool = False
    link: str = ""


def lanes_of(picture: Picture, view: View) -> list[Lane]:
    """The lanes that are shown."""
    return [lane for lane in picture.lanes if view.stores or lane.key not in STORES]


def head(picture: Picture, view: View) -> str:
    """The lanes' names, in a drawing of its own that can stay in sight."""
    width = _width(picture, view)
    boxes = "".join(_lane_box(lane, x) for lane, x in _places(picture, view).values())
    return f'<svg class="picture-head" viewBox="0 0 {width} {HEAD}" aria-hidden="true">{boxes}</svg>'


def body(picture: Picture, view: View) -> str:
    """Everything below the lanes' names."""
    drawn, height = _rows(picture, view)
    width = _width(picture, view)
    lines = _lifelines(picture, view, 0, height)
    size = f'viewBox="0 0 {width} {height}" role="group" aria-label="Sequence of messages"'
    return f'<svg class="picture-body" {size}>{lines}{drawn}</svg>'


def file(picture: Picture, view: View, title: str) -> str:
    """One drawing with its own style, for a file."""
    drawn, height = _rows(picture, view)
    width = _width(picture, view)
    boxes = "".join(_lane_box(lane, x) for lane, x in _places(picture, view).values())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="picture-file" viewBox="0 0 {width} {height + HEAD + 12}" '
        f'width="{width}" height="{height + HEAD + 12}" font-family="system-ui, sans-serif">'
        f"<title>{escape(title)}</title><style>{escape(_STYLE, quote=False)}</style>"
        f'<rect class="ground" width="{width}" height="{height + HEAD + 12}"/>{boxes}'
        f'<g transform="translate(0 {HEAD + 6})">{_lifelines(picture, view, 0, height)}{drawn}</g></svg>\n'
    )


def mark(value: Value, x: float = 8, y: float = 8, size: float = 6) -> str:
    """A value's shape in its colour, around (x, y)."""
    return f'<path class="shape v{value.colour}" d="{_shape(value.shape, x, y, size)}"/>'


def _places(picture: Picture, view: View) -> dict[str, tuple[Lane, int]]:
    return {lane.key: (lane, EDGE + PITCH * number) for number, lane in enumerate(lanes_of(picture, view))}


def _width(picture: Picture, view: View) -> int:
    return 2 * EDGE + PITCH * max(0, len(lanes_of(picture, view)) - 1)


def _lane_box(lane: Lane, x: int) -> str:
    return (
        f'<g class="lane tone-{lane.tone}"><rect class="box" x="{x - 108}" y="8" width="216" height="42" rx="11"/>'
        f"{_text('name', x, 34, lane.title, MOST_TITLE, anchor='middle')}</g>"
    )


def _lifelines(picture: Picture, view: View, top: int, bottom: int) -> str:
    return "".join(
        f'<line class="life tone-{lane.tone}" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>'
        for lane, x in _places(picture, view).values()
    )


def _rows(picture: Picture, view: View) -> tuple[str, int]:
    """The rows below each other, in frames of the five steps; and their height."""
    places = {key: x for key, (_, x) in _places(picture, view).items()}
    width = _width(picture, view)
    parts: list[str] = []
    y, top = 8, 8
    step: int | None = None
    inside: list[str] = []
    for row in [*picture.rows, None]:
        if row is None or row.step != step:
            if step is not None:
                y += 10
                parts += [_frame(step, top, y, width), *inside]
                y += 12
            if row is None:
                break
            step, top, inside = row.step, y, []
            y += TITLE
        drawn, height = _row(row, y, places, view, width)
        drawn = _linked(row, drawn, view, picture)
        inside.append(drawn)
        y += height
    return "".join(parts), max(y, 40)


def _frame(step: int, top: int, bottom: int, width: int) -> str:
    return (
        f'<g class="frame"><rect class="band" x="6" y="{top}" width="{width - 12}" height="{bottom - top}" rx="14"/>'
        f'<circle class="step" cx="30" cy="{top + 24}" r="14"/>'
        f'<text class="digit" x="30" y="{top + 29}">{step or "·"}</text>'
        f'<text class="title" x="54" y="{top + 30}">{escape(title_of(step))}</text></g>'
    )


def _row(row: Row, y: int, places: dict[str, int], view: View, width: int) -> tuple[str, int]:
    if row.kind == "gap":
        text = _text("gap-text", width / 2, y + 21, row.text, 100, anchor="middle")
        line = f'<path class="gap-line" d="M20 {y + 34}H{width - 20}"/>'
        return f"{line}{text}", 48
    if row.kind == "change" and (not view.stores or row.end not in places):
        return _store_note(row, y, places[row.start], width), 30
    if row.kind == "checks":
        return _checks(row, y, places[row.start], view, width)
    drawn, height = _arrow(row, y, places[row.start], places[row.end])
    left = min(places[row.start], places[row.end]) - 14
    room = abs(places[row.start] - places[row.end]) + 28
    return f'<rect class="hit" x="{left}" y="{y}" width="{room}" height="{height}"/>{drawn}', height


def _linked(row: Row, drawn: str, view: View, picture: Picture) -> str:
    if row.kind == "gap":
        return f'<g class="row gap" data-row="gap">{drawn}</g>'
    group = f'<g class="row {row.kind}{" refused" if row.refused else ""}" data-message="{row.number}">{drawn}</g>'
    if not view.link or row.kind != "request":
        return group
    label = f"Message {row.number}: {picture.called(row.start)} to {picture.called(row.end)}, {row.text}"
    return f'<a href="{escape(view.link.format(row.number))}" class="message" aria-label="{escape(label)}">{group}</a>'


def _arrow(row: Row, y: int, start: int, end: int) -> tuple[str, int]:
    """Label above the line, what it carries below it."""
    line = y + 26
    ahead = 1 if end > start else -1
    left, right = min(start, end), max(start, end)
    if start == end:  # a party that asks itself
        right = left + PITCH - 40
    nobody = row.kind == "request" and row.refused
    # short of its lane, and of no other
    tip = end - (end - start) / 5 if nobody else end - 3 * ahead
    parts = []
    kind = "front" if row.front else "back"
    if start == end:
        parts.append(f'<path class="line {kind}" d="M{start} {line}h60v14h-56"/>')
    else:
        parts.append(f'<path class="line {kind} {row.kind}-line" d="M{start} {line}H{tip - 8 * ahead}"/>')
        if not nobody:
            parts.append(_tip(tip, line, ahead, is_open=row.kind == "answer"))
    # beside the number, which stands where the arrow begins
    text_from = left + (38 if row.kind == "request" and ahead > 0 else 14)
    text_to = right - (38 if row.kind == "request" and ahead < 0 else 14)
    if row.kind == "request":
        x = start + 20 * ahead
        parts.append(f'<circle class="number" cx="{x}" cy="{line}" r="12"/>')
        parts.append(f'<text class="digit" x="{x}" y="{line + 5}">{row.number}</text>')
    # what was answered must be read whole: what else is said of it goes below the line when there is no room beside it
    below = len(row.text) * CHARACTER + len(row.detail) * 7.2 > text_to - text_from
    if row.kind == "change":
        parts.append(_text("stored", text_from, y + 17, _ending(row.text, int((text_to - text_from) / SMALL)), 100))
    else:
        shown = int((text_to - text_from - (0 if below else len(row.detail) * 7.2)) / CHARACTER)
        parts.append(_text("label", text_from, y + 17, row.text, shown))
    if row.detail:
        at = line + 16 if below else y + 17
        parts.append(_text("detail", right - 12, at, _in_short(row.detail), 40, anchor="end"))
    if row.refused:
        parts.append(_cross(start if row.kind == "answer" else tip, line))
    under = 18 if row.detail and below else 0
    if not row.carried:
        return "".join(parts), 36 + under
    chips, lines = _chips(row.carried, text_from, line + 10 + under, right - text_from - 10)
    return "".join([*parts, chips]), 34 + under + 22 * lines


def _chips(carried: Sequence[tuple[Value, str]], x: float, y: int, room: float) -> tuple[str, int]:
    """A chip for each value, in as many lines as they need; gives the number of lines."""
    parts = []
    used, lines = 0.0, 1
    for number, (value, name) in enumerate(carried):
        if number == MOST_CHIPS:
            parts.append(_text("more", x + used, y + 22 * (lines - 1) + 12, f"and {len(carried) - number} more", 20))
            break
        text = chip_text(value, name)
        width = 30 + len(text) * 7.4
        if used and used + width > room:
            used, lines = 0.0, lines + 1
        top = y + 22 * (lines - 1)
        parts.append(
            f'<g class="chip v{value.colour}" data-value="{value.number}">'
            f'<rect x="{x + used:.0f}" y="{top - 3}" width="{width - 4:.0f}" height="19" rx="9.5"/>'
            f"{mark(value, x + used + 11, top + 6.5, 5)}"
            f'<text x="{x + used + 20:.0f}" y="{top + 11}">{escape(_clean(text))}</text></g>'
        )
        used += width
    return "".join(parts), lines


def chip_text(value: Value, name: str) -> str:
    """What a value is called where it stands under a name: the name, unless that says nothing."""
    text = name[:MOST_NAME] if name not in {"authorization", "token"} else value.label
    if value.label[-1].isdigit() and not text[-1].isdigit():
        text += value.label[value.label.rfind(" ") :]
    return text


def facts(check: dict[str, Any]) -> str:
    """What a check expected, and what there was, as far as it was told."""
    told = ((word, check.get(word)) for word in ("expected", "actual"))
    return " · ".join(f"{word} {_cut(text_of(fact), MOST_FACT)}" for word, fact in told if fact is not None)


def _checks(row: Row, y: int, x: int, view: View, width: int) -> tuple[str, int]:
    """One line for all that passed, and two for each that did not; or two for each."""
    lines: list[tuple[str, str]] = []
    if row.text and not view.checks:
        lines.append(("passed", f"✓ {row.text}"))
    for check in row.checks:
        if view.checks or not check["passed"]:
            kind, sign = ("passed", "✓") if check["passed"] else ("failed", "✕")
            lines += [(kind, f"{sign} {_cut(str(check['name']), 36)} · {_in_short(str(check['clause']))}")]
            lines += [("clause", text)] if (text := facts(check)) else []
    room = int(max(min(MOST_NOTED, len(text)) * (BOLD if kind == "failed" else 1) for kind, text in lines) * SMALL) + 24
    left = _left(x, room, width)
    height = 17 * len(lines) + 9
    kind_of_note = "note bad" if row.refused else "note"
    parts = [f'<rect class="{kind_of_note}" x="{left}" y="{y + 2}" width="{room}" height="{height}" rx="8"/>']
    for number, (kind, text) in enumerate(lines):
        parts.append(_text(kind, left + 10, y + 19 + 17 * number, text, MOST_NOTED))
    return "".join(parts), height + 10


def _left(x: int, room: int, width: int) -> int:
    """Where a note begins that stands around a lane, and within the drawing."""
    return max(10, min(x - room // 2, width - 10 - room))


def _in_short(clause: str) -> str:
    """A clause with the section in sight: it is what a refusal is about."""
    return clause.replace("OpenID Connect ", "OIDC ").replace("OAuth 2.0 Form Post Response Mode", "Form Post")


def _store_note(row: Row, y: int, x: int, width: int) -> str:
    whole = _ending(f"{NAMES[row.end][0]}: {row.text}", MOST_NOTED)
    room = int(len(whole) * SMALL) + 24
    left = _left(x, room, width)
    text = _text("stored", left + room / 2, y + 16, whole, MOST_NOTED, anchor="middle")
    return f'<rect class="store" x="{left}" y="{y + 1}" width="{room}" height="22" rx="11"/>{text}'


def _ending(text: str, most: int) -> str:
    """Of a change its end, should there be no room for all of it: what became of it, and for how long."""
    return text if len(text) <= most else "…" + text[1 - most :]


def _tip(x: float, y: int, ahead: int, *, is_open: bool) -> str:
    shape = f"M{x - 10 * ahead} {y - 5.5}L{x} {y}L{x - 10 * ahead} {y + 5.5}"
    return f'<path class="tip{" open" if is_open else ""}" d="{shape}{"" if is_open else "Z"}"/>'


def _cross(x: float, y: int) -> str:
    arms = f"M{x - 5} {y - 5}L{x + 5} {y + 5}M{x + 5} {y - 5}L{x - 5} {y + 5}"
    return f'<circle class="refusal" cx="{x}" cy="{y}" r="11"/><path class="refusal-cross" d="{arms}"/>'


def _text(kind: str, x: float, y: float, text: str, most: int, *, anchor: str = "start") -> str:
    cut = _cut(text, most)
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(_clean(cut))}</text>'


def _cut(text: str, most: int) -> str:
    whole = " ".join(text.split())
    return whole if len(whole) <= most else whole[: max(1, most - 1)] + "…"


def _clean(text: str) -> str:
    """Without what XML cannot have, and without marks that turn the direction of what follows."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _shape(name: str, x: float, y: float, size: float) -> str:
    if name == "circle":
        return f"M{x - size:.1f} {y:.1f}a{size} {size} 0 1 0 {2 * size} 0a{size} {size} 0 1 0 {-2 * size} 0Z"
    if name == "cross":
        thin, rest = size / 2.6, size - size / 2.6
        steps = [("v", rest), ("h", rest), ("v", 2 * thin), ("h", -rest), ("v", rest), ("h", -2 * thin)]
        steps += [("v", -rest), ("h", -rest), ("v", -2 * thin), ("h", rest), ("v", -rest)]
        around = "".join(f"{way}{length:.1f}" for way, length in steps)
        return f"M{x - thin:.1f} {y - size:.1f}h{2 * thin:.1f}{around}Z"
    corners = ((x + radius * sin(turn), y - radius * cos(turn)) for turn, radius in _corners(name, size))
    points = "L".join(f"{across:.1f} {down:.1f}" for across, down in corners)
    return f"M{points}Z"


def _corners(name: str, size: float) -> Iterator[tuple[float, float]]:
    """Angle (from above, clockwise) and radius of each corner."""
    if name == "star":
        for number in range(10):
            yield number * pi / 5, size * (1.25 if number % 2 == 0 else 0.55)
        return
    corners, turned, radius = {
        "diamond": (4, 0.0, 1.2),
        "triangle": (3, 0.0, 1.25),
        "hexagon": (6, 0.0, 1.1),
        "square": (4, pi / 4, 1.25),
    }[name]
    for number in range(corners):
        yield turned + number * 2 * pi / corners, size * radius

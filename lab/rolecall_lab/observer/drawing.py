"""The geometry of a flow's drawing: where each line, label, and shape of a picture goes.

All positions and sizes are in pixels. `templates/observer/picture.svg` turns the result into SVG.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar, Final, NamedTuple

from rolecall_lab.observer.picture import PARTIES, STORES, Lane, Picture, Row, step_title
from rolecall_lab.observer.shapes import shape_path
from rolecall_lab.observer.texts import fact_text
from rolecall_lab.observer.values import MAX_NAME, Value

LANE_SPACING: Final = 252
MARGIN: Final = 132
"""Distance from the edge of the drawing to its first and last lane."""

HEADER_HEIGHT: Final = 58
FRAME_TITLE_HEIGHT: Final = 46

LABEL_CHARACTER: Final = 8.4
"""Approximate width of a character of a message's label."""

DETAIL_CHARACTER: Final = 7.2
"""Approximate width of a character of the detail next to or below a label."""

CHIP_CHARACTER: Final = 7.4
NOTE_CHARACTER: Final = 6.9
BOLD_FACTOR: Final = 1.12
"""How much wider bold text is than regular text."""

MAX_CHIPS: Final = 12
"""Values shown per message."""

MAX_NOTE: Final = 76
"""Characters per line of a note."""

MAX_FACT: Final = 28
"""Characters of a check's expected value and of its actual value."""

MAX_LANE_TITLE: Final = 21
"""Characters of a lane's title. The title of a party outside the stack is its host name, which can be long."""


class Text(NamedTuple):
    """One line of text; `style` is its CSS class."""

    style: str
    x: int
    y: int
    anchor: str
    text: str


@dataclass(slots=True)
class LaneBox:
    """A lane: the box with its title, and the lifeline below it."""

    x: int
    tone: str
    title: Text


class Chip(NamedTuple):
    """A value carried by a message: its mark, which is path data, and its name."""

    number: int
    color: int
    x: int
    y: int
    width: int
    mark: str
    text_x: int
    text_y: int
    text: str


@dataclass(slots=True)
class Arrow:
    """A message between two lanes. `line`, `head`, and `cross` are path data; the last two may be empty.

    Args:
        y: the y coordinate of the line.
        number: the message's number, drawn at the start of the arrow; 0 for none.
        cross: the mark of a refusal.
        more: the text for values that have no chip.
    """

    macro: ClassVar[str] = "arrow"

    y: int
    line: str
    line_style: str
    head: str
    head_style: str
    number: int
    number_x: int
    cross: str
    cross_x: float
    texts: list[Text]
    chips: list[Chip]
    more: Text | None


@dataclass(slots=True)
class Note:
    """A box with text on a lane: the checks of a message, or a change in a store."""

    macro: ClassVar[str] = "note"

    style: str
    x: int
    y: int
    width: int
    height: int
    radius: int
    lines: list[Text]


@dataclass(slots=True)
class Gap:
    """A line across the drawing where messages are missing."""

    macro: ClassVar[str] = "gap"

    path: str
    text: Text


@dataclass(slots=True)
class Entry:
    """A row of the picture, with its shape."""

    row: Row
    shape: Arrow | Note | Gap


@dataclass(slots=True)
class Frame:
    """The rows that belong to one step of the role diagram."""

    step: int
    title: str
    top: int
    bottom: int
    entries: list[Entry]


class Drawing:
    """A picture with the positions of everything in it."""

    header_height = HEADER_HEIGHT

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        lanes = [lane for lane in picture.lanes if lane.key not in STORES]
        self._lane_x = {lane.key: MARGIN + LANE_SPACING * number for number, lane in enumerate(lanes)}
        self.lanes = [_lane_box(lane, self._lane_x[lane.key]) for lane in lanes]
        self.width = 2 * MARGIN + LANE_SPACING * max(0, len(lanes) - 1)
        self.frames: list[Frame] = []
        self.height = max(self._add_frames(), 40)

    def _add_frames(self) -> int:
        """Lay out the rows from top to bottom, and return the y coordinate of the bottom."""
        y = 8
        for step, rows in groupby(self._picture.rows, lambda row: row.step):
            top = y
            entries = []
            y += FRAME_TITLE_HEIGHT
            for row in rows:
                shape, height = self._shape(row, y)
                entries.append(Entry(row, shape))
                y += height
            y += 10
            self.frames.append(Frame(step, step_title(step), top, y, entries))
            y += 12
        return y

    def _shape(self, row: Row, y: int) -> tuple[Arrow | Note | Gap, int]:
        """Return the shape of a row and the height it needs."""
        if row.kind == "gap":
            text = _text("gap-text", self.width / 2, y + 21, row.text, 100, anchor="middle")
            return Gap(f"M20 {y + 34}H{self.width - 20}", text), 48
        start = self._lane_x[row.start]
        if row.kind == "change":
            return _store_note(row, y, start, self.width), 30
        if row.kind == "checks":
            return _check_note(row, y, start, self.width)
        return _arrow(row, y, start, self._lane_x[row.end])


def _lane_box(lane: Lane, x: int) -> LaneBox:
    return LaneBox(x, lane.tone, _text("name", x, 34, lane.title, MAX_LANE_TITLE, anchor="middle"))


def _arrow(row: Row, y: int, start: int, end: int) -> tuple[Arrow, int]:
    """Return the arrow of a message, with its label above the line and its values below it, and its height."""
    line = y + 26
    direction = 1 if end > start else -1
    left, right = min(start, end), max(start, end)
    is_loop = start == end
    if is_loop:
        right = left + LANE_SPACING - 40
    is_unanswered = row.kind == "request" and row.refused
    # The arrow of an unanswered request ends well before the receiver's lane.
    tip = end - (end - start) / 5 if is_unanswered else end - 3 * direction
    # Leave room for the number at the start of the arrow.
    text_start = left + (38 if row.kind == "request" and direction > 0 else 14)
    text_end = right - (38 if row.kind == "request" and direction < 0 else 14)
    texts, extra = _arrow_texts(row, y, text_start, text_end, right - 12)
    height = 36 + extra
    chips: list[Chip] = []
    more = None
    if row.carried:
        chips, more, lines = _chips(row.carried, text_start, line + 10 + extra, right - text_start - 10)
        height = 34 + extra + 22 * lines
    is_response = row.kind == "response"
    style = f"line {'front' if row.front else 'back'}"
    cross_x = start if is_response else tip
    arrow = Arrow(
        y=line,
        line=f"M{start} {line}h60v14h-56" if is_loop else f"M{start} {line}H{tip - 8 * direction}",
        line_style=style if is_loop else f"{style} {row.kind}-line",
        head="" if is_loop or is_unanswered else _arrowhead(tip, line, direction, is_open=is_response),
        head_style="tip open" if is_response else "tip",
        number=row.number if row.kind == "request" else 0,
        number_x=start + 20 * direction,
        cross=_cross(cross_x, line) if row.refused else "",
        cross_x=cross_x,
        texts=texts,
        chips=chips,
        more=more,
    )
    return arrow, height


def _arrowhead(x: float, y: int, direction: int, *, is_open: bool) -> str:
    base = x - 10 * direction
    return f"M{base} {y - 5.5}L{x} {y}L{base} {y + 5.5}{'' if is_open else 'Z'}"


def _cross(x: float, y: int) -> str:
    return f"M{x - 5} {y - 5}L{x + 5} {y + 5}M{x + 5} {y - 5}L{x - 5} {y + 5}"


def _arrow_texts(row: Row, y: int, start: int, end: int, detail_end: int) -> tuple[list[Text], int]:
    """Return the label of a message with its detail, and the extra height if the detail goes below the line.

    The detail goes below the line if the label and the detail do not fit next to each other.
    """
    room = end - start
    is_below = len(row.text) * LABEL_CHARACTER + len(row.detail) * DETAIL_CHARACTER > room
    label_room = room - (0 if is_below else len(row.detail) * DETAIL_CHARACTER)
    texts = [_text("label", start, y + 17, row.text, int(label_room / LABEL_CHARACTER))]
    if not row.detail:
        return texts, 0
    detail_y = y + 42 if is_below else y + 17
    texts.append(_text("detail", detail_end, detail_y, _short_clause(row.detail), 40, anchor="end"))
    return texts, 18 if is_below else 0


def _chips(carried: Sequence[tuple[Value, str]], x: int, y: int, room: float) -> tuple[list[Chip], Text | None, int]:
    """Return the chips of the values, the text for any further values, and the number of lines that the chips take."""
    chips: list[Chip] = []
    used, lines = 0.0, 1
    for number, (value, name) in enumerate(carried):
        if number == MAX_CHIPS:
            top = y + 22 * (lines - 1)
            return chips, _text("more", x + used, top + 12, f"and {len(carried) - number} more", 20), lines
        text = chip_text(value, name)
        width = 30 + len(text) * CHIP_CHARACTER
        if used and used + width > room:
            used, lines = 0.0, lines + 1
        top = y + 22 * (lines - 1)
        left = x + used
        chips.append(
            Chip(
                number=value.number,
                color=value.color,
                x=round(left),
                y=top - 3,
                width=round(width - 4),
                mark=shape_path(value.shape, left + 11, top + 6.5, 5),
                text_x=round(left + 20),
                text_y=top + 11,
                text=_printable(text),
            )
        )
        used += width
    return chips, None, lines


def chip_text(value: Value, name: str) -> str:
    """Return the text of a value's chip: the name it has in the message, or its label if that name is too general."""
    text = name[:MAX_NAME] if name not in {"authorization", "token"} else value.label
    if value.label[-1].isdigit() and not text[-1].isdigit():
        text += value.label[value.label.rfind(" ") :]
    return text


def facts(check: dict[str, Any], longest: int = MAX_FACT) -> str:
    """Return the expected and actual values of a check, as far as they were recorded.

    Args:
        longest: the maximum length of each value, in characters. Of longer values, the part around their first
            difference is kept.
    """
    recorded = {word: fact_text(fact) for word in ("expected", "actual") if (fact := check.get(word)) is not None}
    skipped = 0
    if len(recorded) == 2 and any(len(text) > longest for text in recorded.values()):
        pairs = enumerate(zip(*recorded.values(), strict=False))
        shortest = min(map(len, recorded.values()))
        skipped = max(0, next((place for place, (one, other) in pairs if one != other), shortest) - longest // 2)
    shown = {word: f"{'…' if skipped else ''}{text[skipped:]}" for word, text in recorded.items()}
    return " · ".join(f"{word} {_shorten(text, longest) or 'nothing'}" for word, text in shown.items())


def _check_note(row: Row, y: int, x: int, width: int) -> tuple[Note, int]:
    """Return the note with a message's checks, and its height."""
    lines = [*_check_lines(row)]
    widths = (min(MAX_NOTE, len(text)) * (BOLD_FACTOR if style == "failed" else 1) for style, text in lines)
    note_width = int(max(widths) * NOTE_CHARACTER) + 24
    left = _note_left(x, note_width, width)
    height = 17 * len(lines) + 9
    texts = [
        _text(style, left + 10, y + 19 + 17 * number, text, MAX_NOTE) for number, (style, text) in enumerate(lines)
    ]
    return Note("note bad" if row.refused else "note", left, y + 2, note_width, height, 8, texts), height + 10


def _check_lines(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the style and text of each line, one or two for each check."""
    for check in row.checks:
        style, sign = ("passed", "✓") if check["passed"] else ("failed", "✕")
        yield style, f"{sign} {_shorten(str(check['name']), 36)} · {_short_clause(str(check['clause']))}"
        if text := facts(check):
            yield "clause", text


def _store_note(row: Row, y: int, x: int, width: int) -> Note:
    text = _shorten_start(f"{PARTIES[row.end][0]}: {row.text}", MAX_NOTE)
    note_width = int(len(text) * NOTE_CHARACTER) + 24
    left = _note_left(x, note_width, width)
    line = _text("stored", left + note_width / 2, y + 16, text, MAX_NOTE, anchor="middle")
    return Note("store", left, y + 1, note_width, 22, 11, [line])


def _note_left(x: int, note_width: int, width: int) -> int:
    """Return the left edge of a note that is centered on a lane if it fits into the drawing there."""
    return max(10, min(x - note_width // 2, width - 10 - note_width))


def _short_clause(clause: str) -> str:
    """Abbreviate the name of a specification, so that the section number stays visible."""
    return clause.replace("OpenID Connect ", "OIDC ").replace("OAuth 2.0 Form Post Response Mode", "Form Post")


def _shorten_start(text: str, length: int) -> str:
    """Cut off the start of a store's change, because the end has the action and the lifetime."""
    return text if len(text) <= length else "…" + text[1 - length :]


def _shorten(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: max(1, length - 1)] + "…"


def _text(style: str, x: float, y: float, text: str, length: int, *, anchor: str = "start") -> Text:
    return Text(style, round(x), round(y), anchor, _printable(_shorten(text, length)))


def _printable(text: str) -> str:
    """Replace characters that XML does not allow and characters that change the writing direction."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "�" for character in text)

"""A flow as a Mermaid sequence diagram."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rolecall_lab.observer.picture import PARTIES, STORES, Picture, Row, lay_out, step_title
from rolecall_lab.recording.recorded_flow import Loss

_PARTICIPANTS: Final = {
    "browser": "B",
    "client": "C",
    "authorization_server": "AS",
    "resource_server": "RS",
    **{f"other{number}": f"O{number}" for number in ("", 2, 3, 4, 5, "s")},
}


def write(events: list[dict[str, Any]], losses: list[Loss], omitted: tuple[int, str]) -> str:
    """Return the diagram. Messages through the browser are drawn dashed."""
    picture = lay_out(events, losses, omitted)
    lines = ["sequenceDiagram", "  autonumber"]
    lines += [
        f"  participant {_PARTICIPANTS[lane.key]} as {_escape(lane.title)}"
        for lane in picture.lanes
        if lane.key not in STORES
    ]
    outer_lanes = _outer_lanes(picture)
    step: int | None = None
    for row in picture.rows:
        if row.step != step:
            lines += ["  end"] if step is not None else []
            title = f"{row.step} {step_title(row.step)}" if row.step else step_title(row.step)
            lines += ["  rect rgba(128, 128, 128, 0.08)", f"  Note over {outer_lanes}: {title}"]
            step = row.step
        lines += _row(row, outer_lanes)
    return "\n".join([*lines, *(["  end"] if step is not None else []), ""])


def _row(row: Row, outer_lanes: str) -> Iterator[str]:
    if row.kind == "gap":
        yield f"  Note over {outer_lanes}: {_escape(row.text)}"
    elif row.kind == "change":
        yield f"  Note over {_PARTICIPANTS[row.start]}: {PARTIES[row.end][0]} {_escape(row.text)}"
    elif row.kind == "checks":
        start = _PARTICIPANTS[row.start]
        if row.text:
            yield f"  Note over {start}: {_escape(row.text)}"
        for check in row.checks:
            if not check["passed"]:
                yield f"  Note over {start}: ✕ {_escape(str(check['name']))} ({_escape(str(check['clause']))})"
    else:
        line = "--" if row.front else "-"
        arrow = f"{line}x" if row.refused else f"{line}>>"
        carried = ", ".join(dict.fromkeys(value.label for value, _ in row.carried))
        text = " ".join(part for part in (row.text, f"[{carried}]" if carried else "", row.detail) if part)
        yield f"  {_PARTICIPANTS[row.start]}{arrow}{_PARTICIPANTS[row.end]}: {_escape(text)}"


def _outer_lanes(picture: Picture) -> str:
    """Return the first and the last lane, for notes that span the diagram."""
    lanes = [_PARTICIPANTS[lane.key] for lane in picture.lanes if lane.key not in STORES]
    return ",".join(dict.fromkeys((lanes[0], lanes[-1])))


def _escape(text: str) -> str:
    """Return one line of text in which everything that Mermaid could interpret is an entity code."""
    line = " ".join(text.split())[:200]
    escaped = "".join(
        character if character.isalnum() or character in " /.,:_'-()[]→·…✕=?&" else f"#{ord(character)};"
        for character in line
        if character.isprintable()
    )
    return escaped.replace("end", "#101;nd") or "#32;"

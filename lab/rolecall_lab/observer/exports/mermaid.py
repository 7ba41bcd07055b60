"""A flow as a sequence diagram in Mermaid's language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rolecall_lab.observer.picture import NAMES, STORES, Row, lay_out, title_of
from rolecall_lab.recording.recorded_flow import Loss

_SHORT: Final = {
    "browser": "B",
    "client": "C",
    "authorization_server": "AS",
    "resource_server": "RS",
    **{f"other{number}": f"O{number}" for number in ("", 2, 3, 4, 5, "s")},
}


def write(events: list[dict[str, Any]], losses: list[Loss], omitted: tuple[int, str]) -> str:
    """Text for any tool that draws Mermaid; what is sent through the browser is dashed."""
    picture = lay_out(events, losses, omitted)
    lines = ["sequenceDiagram", "  autonumber"]
    lines += [
        f"  participant {_SHORT[lane.key]} as {_text(lane.title)}" for lane in picture.lanes if lane.key not in STORES
    ]
    step: int | None = None
    for row in picture.rows:
        if row.step != step:
            lines += ["  end"] if step is not None else []
            title = f"{row.step} {title_of(row.step)}" if row.step else title_of(row.step)
            lines += ["  rect rgba(128, 128, 128, 0.08)", f"  Note over {_ends(picture)}: {title}"]
            step = row.step
        lines += _row(row, _ends(picture))
    return "\n".join([*lines, *(["  end"] if step is not None else []), ""])


def _row(row: Row, ends: str) -> Iterator[str]:
    if row.kind == "gap":
        yield f"  Note over {ends}: {_text(row.text)}"
    elif row.kind == "change":
        yield f"  Note over {_SHORT[row.start]}: {NAMES[row.end][0]} {_text(row.text)}"
    elif row.kind == "checks":
        failed = [check for check in row.checks if not check["passed"]]
        if row.text:
            yield f"  Note over {_SHORT[row.start]}: {_text(row.text)}"
        for check in failed:
            yield f"  Note over {_SHORT[row.start]}: ✕ {_text(str(check['name']))} ({_text(str(check['clause']))})"
    else:
        line = "--" if row.front else "-"
        arrow = f"{line}x" if row.refused else f"{line}>>"
        carried = ", ".join(dict.fromkeys(value.label for value, _ in row.carried))
        text = " ".join(part for part in (row.text, f"[{carried}]" if carried else "", row.detail) if part)
        yield f"  {_SHORT[row.start]}{arrow}{_SHORT[row.end]}: {_text(text)}"


def _ends(picture: Any) -> str:
    lanes = [_SHORT[lane.key] for lane in picture.lanes if lane.key not in STORES]
    return ",".join(dict.fromkeys((lanes[0], lanes[-1])))


def _text(text: str) -> str:
    """One line in which nothing is Mermaid's: what is no letter, digit or plain mark becomes an entity code."""
    plain = " ".join(text.split())[:200]
    safe = "".join(
        each if each.isalnum() or each in " /.,:_'-()[]→·…✕=?&" else f"#{ord(each)};"
        for each in plain
        if each.isprintable()
    )
    return safe.replace("end", "#101;nd") or "#32;"

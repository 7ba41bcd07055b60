"""Points in time and time spans as text for pages."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(seconds: float, now: float) -> str:
    """Return a time of day in UTC, with the date if it is not today, and the distance from `now`.

    Args:
        seconds: the time in seconds since the epoch, like `now`.
    """
    try:
        at, today = datetime.fromtimestamp(seconds, UTC), datetime.fromtimestamp(now, UTC).date()
    except (ValueError, OverflowError):  # the value may come from another party
        return "at a time outside the calendar"
    time_of_day = at.strftime("%H:%M:%S UTC")
    date_and_time = time_of_day if at.date() == today else at.strftime("%-d %b %Y, ") + time_of_day
    return f"{date_and_time}, {distance(seconds - now)}"


def distance(seconds: float) -> str:
    """Return a time span as text: `in 4 min 59 s`, `12 s ago`, `now`."""
    whole = round(abs(seconds))
    if not whole:
        return "now"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    text = (
        f"{days} day{'' if days == 1 else 's'}"
        if days
        else f"{hours} h {minutes % 60} min"
        if hours
        else f"{minutes} min {whole % 60} s"
        if minutes
        else f"{whole} s"
    )
    text = text.replace(" ", "\u00a0")  # keeps it on one line
    return f"in\u00a0{text}" if seconds > 0 else f"{text}\u00a0ago"

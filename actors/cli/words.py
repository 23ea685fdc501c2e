"""Quantities as people read and write them: durations, bytes."""

import math
import re

from actors.cli.errors import WRONG_USE, CommandFailed

DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|min|h|d|)", re.ASCII)
UNITS_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


class InvalidDuration(ValueError):
    """The text is no duration; the message says what would do."""


def parse_duration_s(text: str) -> float:
    """Return the seconds that "60s", "500ms", "2m", "1h" or "1.5" say.  Raises InvalidDuration."""
    found = DURATION.fullmatch(text.strip())
    if found is None:
        raise InvalidDuration(f"{text[:40]!r} is no duration; 60s, 500ms, 2m or 1h would do")
    return float(found[1]) * UNITS_S[found[2]]


def seconds_of(option: str, text: str, least_s: float = 0.0) -> float:
    """Return the seconds that an option says.  Raises CommandFailed."""
    try:
        seconds = parse_duration_s(text)
    except InvalidDuration as error:
        raise CommandFailed(f"{option}: {error}", code=WRONG_USE) from None
    if seconds < least_s:
        raise CommandFailed(f"{option}: at least {duration(least_s)}, not {text}", code=WRONG_USE)
    return seconds


def duration(seconds: float) -> str:
    """Return a length of time with about two digits that matter."""
    if not math.isfinite(seconds):
        return "?"
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms" if seconds >= 0.001 else f"{seconds * 1000:.2f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days} d {hours_left} h"
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {seconds_left} s"


def size(count: int) -> str:
    """Return a number of bytes."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(BYTE_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.3g} {BYTE_UNITS[unit]}"

"""The one loguru set-up: an event a line on standard error, as text or JSON, keys shortened, floods counted.

    2026-05-01T12:00:00.123+02:00 WARNING packet relay link closed link=3 reason="no pong for 2 s"

Whoever logs writes `logger.bind(peer=..., link=...).info("what happened")`: the words stay the same, what differs goes
into the fields.  The libraries' own records (logging) come the same way, from warnings on.
"""

import logging
import re
import sys
import traceback
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import msgspec
from loguru import logger

from config.keys import SHORT_LEN, Secret
from config.schema import LogSection
from config.tail import Tail
from config.text import one_line

if TYPE_CHECKING:
    from loguru import Message, Record

WINDOW_S = 10.0
MAX_PER_WINDOW = 50  # events of one place in the code; the rest is counted
MAX_PLACES = 512
MAX_TEXT_LEN = 2000  # characters of the words and of each field
MAX_FRAMES = 6

KEY = re.compile(rf"(?<![A-Za-z0-9+/])([A-Za-z0-9+/]{{{SHORT_LEN}}})[A-Za-z0-9+/]{{{43 - SHORT_LEN}}}=")
PLAIN = re.compile(r"[^\s\"'=]+")


def setup(section: LogSection, process: str, stream: TextIO | None = None) -> None:
    """Send what loguru and logging are told to `stream` (None: standard error), under this process's name."""
    sink = _Sink(stream if stream is not None else sys.stderr, process, section.json)
    logger.remove()
    # Without diagnose: it would print the values of variables, keys among them, beside a traceback.
    logger.add(sink, level=section.level.upper(), format=_nothing, diagnose=False, backtrace=False)
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


def keep_tail(section: LogSection, process: str, directory: Path) -> None:
    """Keep the end of what is told, as text, in this directory as well, where `homing bundle` finds it.

    Without room for it there is none.
    """
    try:
        tail = Tail(tail_path(directory, process))
    except OSError as error:
        logger.warning("the end of the log is not kept: {}", error)
        return
    sink = _Sink(tail, process, as_json=False)
    logger.add(sink, level=section.level.upper(), format=_nothing, diagnose=False, backtrace=False)


def tail_path(directory: Path, process: str) -> Path:
    """Return the file that holds the end of this process's log."""
    return directory / f"log-{process}.txt"


def shorten_keys(text: str) -> str:
    """Return the text with every key in it cut to its first 8 characters."""
    return KEY.sub(r"\1", text)


@dataclass(slots=True)
class _Window:
    """The events of one place in the code since `started_s`."""

    started_s: float
    events: int = 0


class Limiter:
    """Passes at most MAX_PER_WINDOW events of a place in WINDOW_S, and counts the others."""

    def __init__(self) -> None:
        self._windows: OrderedDict[tuple[str, int], _Window] = OrderedDict()

    def admit(self, place: tuple[str, int], now: float) -> bool:
        """Tell whether an event of this place may be written at `now` (seconds of any clock)."""
        window = self._windows.setdefault(place, _Window(now))
        window.events += 1
        return window.events <= MAX_PER_WINDOW

    def ended(self, now: float) -> list[tuple[tuple[str, int], int]]:
        """Forget the windows that are over, and return how much each has suppressed, if anything."""
        over = []
        while self._windows:
            place, window = next(iter(self._windows.items()))
            # A clock that was set back ends the window too.
            if 0 <= now - window.started_s < WINDOW_S and len(self._windows) <= MAX_PLACES:
                break
            del self._windows[place]
            if window.events > MAX_PER_WINDOW:
                over.append((place, window.events - MAX_PER_WINDOW))
        return over


class _Stream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class _Sink:
    """Writes loguru's events as lines."""

    def __init__(self, stream: "_Stream", process: str, as_json: bool) -> None:
        self._stream, self._process = stream, process
        self._render = _as_json if as_json else _as_text
        self._limiter = Limiter()

    def __call__(self, message: "Message") -> None:
        record = message.record
        elapsed_s = record["elapsed"].total_seconds()
        for (module, line), count in self._limiter.ended(elapsed_s):
            self._write(record["time"], "WARNING", "suppressed", {"events": count, "at": f"{module}:{line}"})
        if self._limiter.admit((record["name"] or "", record["line"]), elapsed_s):
            self._write(record["time"], record["level"].name, record["message"], _fields(record))

    def _write(self, time: datetime, level: str, words: str, fields: dict[str, Any]) -> None:
        line = self._render(time.isoformat(timespec="milliseconds"), level, self._process, _clean(words), fields)
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads the log; the agent goes on


class _Forward(logging.Handler):
    """Hands the records of other libraries to loguru, with the place they came from."""

    def emit(self, record: logging.LogRecord) -> None:
        def place(target: "Record") -> None:
            target["name"], target["line"] = record.name, record.lineno

        try:
            words = record.getMessage()
        except (TypeError, ValueError):  # its format and its arguments do not fit
            words = str(record.msg)
        known = record.levelname in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
        level = record.levelname if known else "WARNING"
        # asyncio hands over a class in place of an error when a client leaves amid a TLS handshake.
        error = record.exc_info[1] if record.exc_info else None
        shown = error if isinstance(error, BaseException) else None
        origin = logger.patch(place).bind(library=record.name).opt(exception=shown)
        origin.log(level, "{}", words)


def _nothing(_: "Record") -> str:
    return ""  # loguru's own rendering is not used


def _fields(record: "Record") -> dict[str, Any]:
    fields = {name: _plain(value) for name, value in record["extra"].items()}
    error = record["exception"]
    if error is not None and error.value is not None:
        fields["error"] = _clean(f"{type(error.value).__name__}: {error.value}")
        frames = traceback.extract_tb(error.traceback)[-MAX_FRAMES:]
        fields["at"] = " > ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames)
    return fields


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Secret | bytes | bytearray | memoryview):
        return f"<{len(value.value if isinstance(value, Secret) else value)} bytes>"
    return _clean(value if isinstance(value, str) else repr(value))


def _clean(text: str) -> str:
    """Return the text as one line without keys: what a remote said must not forge a line of ours."""
    cut = text if len(text) <= MAX_TEXT_LEN else f"{text[:MAX_TEXT_LEN]}…"
    return one_line(shorten_keys(cut))


def _as_text(time: str, level: str, process: str, words: str, fields: dict[str, Any]) -> str:
    pairs = (f"{name}={_quoted(value)}" for name, value in fields.items())
    return " ".join([time, level, process, words, *pairs])


def _quoted(value: Any) -> str:
    text = str(value)
    if PLAIN.fullmatch(text):
        return text
    return msgspec.json.encode(text).decode()


def _as_json(time: str, level: str, process: str, words: str, fields: dict[str, Any]) -> str:
    # Fields come first, so that none of them can take the place of ours.
    whole = {**fields, "time": time, "level": level.lower(), "process": process, "event": words}
    return msgspec.json.encode(whole).decode()

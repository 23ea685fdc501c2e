import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from config import logs
from config.keys import Secret
from config.logs import MAX_PER_WINDOW, MAX_PLACES, WINDOW_S, Limiter
from config.schema import LogSection
from tests.config.samples import BOB


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logger.remove()
    logging.root.handlers, logging.root.level = handlers, level


def lines(section: LogSection | None = None) -> io.StringIO:
    stream = io.StringIO()
    logs.setup(section or LogSection(), "packet", stream)
    return stream


def test_an_event_is_one_line_with_its_fields() -> None:
    out = lines()
    logger.bind(link=3, reason="no pong for 2 s").warning("relay link closed")
    (line,) = out.getvalue().splitlines()
    assert line.split(" ", 1)[1] == 'WARNING packet relay link closed link=3 reason="no pong for 2 s"'


def test_json_lines_hold_the_same() -> None:
    out = lines(LogSection(json=True))
    logger.bind(link=3, peer=BOB, ok=None).info("relay link opened")
    found = json.loads(out.getvalue())
    assert found.pop("time")
    assert found == {
        "level": "info",
        "process": "packet",
        "event": "relay link opened",
        "link": 3,
        "peer": BOB[:8],
        "ok": None,
    }


def test_levels_below_the_wanted_are_silent() -> None:
    out = lines(LogSection(level="warning"))
    logger.info("said nothing")
    logger.error("said")
    assert "said nothing" not in out.getvalue()
    assert " ERROR packet said\n" in out.getvalue()


def test_keys_are_shortened_and_secrets_never_shown() -> None:
    out = lines()
    logger.bind(peer=BOB, key=Secret(b"secret-bytes"), raw=b"raw-bytes", pair=(1, BOB)).info(f"hello {BOB}, {{}}", BOB)
    text = out.getvalue()
    assert BOB not in text
    assert text.count(BOB[:8]) == 4
    assert "secret-bytes" not in text
    assert "raw-bytes" not in text


def test_what_a_remote_said_cannot_forge_a_line() -> None:
    out = lines()
    logger.bind(reason='x" level=error\n2026 ERROR\x1b[2J').info("closed:\n{}", "a\u2028b")
    (line,) = out.getvalue().splitlines()
    assert "\x1b" not in line
    assert "closed:\\na\\u2028b" in line
    assert r'reason="x\" level=error' in line


def test_an_exception_is_one_line_without_values_of_variables() -> None:
    out = lines()
    hidden = "hunter2"
    try:
        dict[int, str]()[len(hidden)]
    except KeyError:
        logger.exception("the driver failed")
    (line,) = out.getvalue().splitlines()
    assert 'the driver failed error="KeyError: 7" at=test_logs.py:' in line
    assert hidden not in line


def test_records_of_libraries_come_the_same_way() -> None:
    out = lines()
    logging.getLogger("grpc.aio").warning("channel %s", BOB)
    logging.getLogger("grpc.aio").info("chatter")
    logging.getLogger("grpc.aio").warning("broken %d", "x")
    logging.getLogger("grpc.aio").log(35, "level of its own {}")
    first, second, third = out.getvalue().splitlines()
    assert first.endswith(f"WARNING packet channel {BOB[:8]} library=grpc.aio")
    assert second.endswith("WARNING packet broken %d library=grpc.aio")
    assert third.endswith("WARNING packet level of its own {} library=grpc.aio")


def test_a_class_in_place_of_an_error_is_one_line() -> None:
    out = lines()
    handshake: Any = (type, ConnectionResetError, None)  # as asyncio has it
    logging.getLogger("asyncio").error("SSL handshake failed", exc_info=handshake)
    (line,) = out.getvalue().splitlines()
    assert line.endswith("ERROR packet SSL handshake failed library=asyncio")


def test_a_log_that_nobody_reads_disturbs_nothing() -> None:
    out = lines()
    out.close()
    logger.info("into the void")


def test_a_flood_is_cut_and_other_places_go_on() -> None:
    out = lines()
    for number in range(MAX_PER_WINDOW + 10):
        logger.bind(number=number).info("flood")
    logger.info("another place")
    assert out.getvalue().count("flood") == MAX_PER_WINDOW
    assert "another place" in out.getvalue()


def test_what_was_suppressed_is_counted_once_its_window_is_over() -> None:
    limiter = Limiter()
    place = ("wg.tunnel", 7)
    assert sum(limiter.admit(place, 1.0) for _ in range(MAX_PER_WINDOW + 10)) == MAX_PER_WINDOW
    assert limiter.ended(1.0 + WINDOW_S - 0.1) == []
    assert limiter.ended(1.0 + WINDOW_S) == [(place, 10)]
    assert limiter.ended(1.0 + WINDOW_S) == []
    assert limiter.admit(place, 1.0 + WINDOW_S)


def test_a_clock_that_was_set_back_ends_the_window() -> None:
    limiter = Limiter()
    place = ("wg.tunnel", 7)
    for _ in range(MAX_PER_WINDOW + 1):
        limiter.admit(place, 1000.0)
    assert limiter.ended(10.0) == [(place, 1)]


@given(st.lists(st.tuples(st.integers(0, 2 * MAX_PLACES), st.floats(0, 100)), max_size=2000))
def test_the_limiter_stays_bounded_and_loses_no_count(events: list[tuple[int, float]]) -> None:
    limiter = Limiter()
    admitted, told = 0, 0
    for line, now in events:
        told += sum(count for _, count in limiter.ended(now))
        admitted += limiter.admit(("m", line), now)
        assert len(limiter._windows) <= MAX_PLACES + 1
    told += sum(count for _, count in limiter.ended(1e9))
    assert admitted + told == len(events)

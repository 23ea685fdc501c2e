import struct
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.clock import RESERVED_S, TAI64_EPOCH, Tai64n, now, unix_now, write_durably

NS = 1_000_000_000
YEAR_2026 = 1_767_225_600 * NS


class WallClock:
    def __init__(self, unix_ns: int = YEAR_2026) -> None:
        self.unix_ns = unix_ns

    def __call__(self) -> int:
        return self.unix_ns


def test_boot_time_runs_and_wall_time_is_wall_time() -> None:
    before = now()
    assert now() >= before
    assert abs(unix_now() - time.time()) < 60


def test_a_stamp_names_the_wall_clocks_second_and_nanosecond(tmp_path: Path) -> None:
    stamp = Tai64n(tmp_path / "mark", WallClock(YEAR_2026 + 5)).stamp()
    assert struct.unpack("!QI", stamp) == (TAI64_EPOCH + YEAR_2026 // NS, 5)
    assert stamp.hex().startswith("40000000")  # a label of this century


def test_stamps_grow_while_the_wall_clock_stands_still(tmp_path: Path) -> None:
    source = Tai64n(tmp_path / "mark", WallClock())
    stamps = [source.stamp() for _ in range(100)]
    assert stamps == sorted(set(stamps))


def test_stamps_grow_when_the_wall_clock_is_set_back_by_a_day(tmp_path: Path) -> None:
    wall = WallClock()
    source = Tai64n(tmp_path / "mark", wall)
    before = source.stamp()
    wall.unix_ns -= 86_400 * NS
    assert source.stamp() > before


def test_stamps_grow_over_a_restart_with_the_wall_clock_set_back(tmp_path: Path) -> None:
    before = Tai64n(tmp_path / "mark", WallClock()).stamp()
    after = Tai64n(tmp_path / "mark", WallClock(YEAR_2026 - 86_400 * NS)).stamp()
    assert after > before


@given(st.lists(st.integers(-3 * RESERVED_S, 3 * RESERVED_S) | st.none(), max_size=30))
def test_whatever_the_wall_clock_does_and_whenever_it_restarts_stamps_grow(steps: list[int | None]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        mark, wall, last = Path(directory) / "mark", WallClock(), b""
        source = Tai64n(mark, wall)
        for step in steps:
            if step is None:
                source = Tai64n(mark, wall)
            else:
                wall.unix_ns += step * NS
            stamp = source.stamp()
            assert stamp > last
            last = stamp


def test_the_mark_is_written_rarely(tmp_path: Path) -> None:
    wall = WallClock()
    source = Tai64n(tmp_path / "mark", wall)
    source.stamp()
    written = (tmp_path / "mark").read_text()
    for _ in range(100):
        wall.unix_ns += NS
        source.stamp()
    assert (tmp_path / "mark").read_text() == written
    wall.unix_ns += RESERVED_S * NS
    source.stamp()
    assert (tmp_path / "mark").read_text() != written


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"-5", b"9" * 200])
def test_a_mark_that_cannot_be_read_is_set_aside(tmp_path: Path, content: bytes) -> None:
    mark = tmp_path / "mark"
    mark.write_bytes(content)
    assert Tai64n(mark, WallClock()).stamp()
    assert (tmp_path / "mark.unreadable").read_bytes() == content
    assert mark.read_text().strip().isdigit()


def test_a_write_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["file"]

import os
from pathlib import Path

import pytest
from loguru import logger

from config import logs
from config.schema import LogSection
from config.tail import Tail, older


def test_a_tail_holds_the_last_lines_within_its_size(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    tail = Tail(path, limit=200)
    for number in range(100):
        tail.write(f"line {number:03}\n")
        assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 200
    tail.close()
    kept = (older(path).read_text() + path.read_text()).splitlines()
    assert kept == [f"line {number:03}" for number in range(100 - len(kept), 100)]
    assert len(kept) >= 10
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_next_process_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    for line in ("one\n", "two\n"):
        tail = Tail(path, limit=10)
        tail.write(line)
        tail.close()
    assert (older(path).read_text(), path.read_text()) == ("one\n", "two\n")


def test_a_line_longer_than_the_file_is_cut(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "log.txt", limit=20)
    tail.write("x" * 1000)
    tail.close()
    assert (tmp_path / "log.txt").read_text() == "x" * 10


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "pipe"])
def test_what_another_user_put_there_is_not_written_to(tmp_path: Path, kind: str) -> None:
    path, victim = tmp_path / "log.txt", tmp_path / "victim"
    victim.write_text("as it was")
    match kind:
        case "symlink":
            path.symlink_to(victim)
        case "hardlink":
            path.hardlink_to(victim)
        case _:
            os.mkfifo(path)
    tail = Tail(path)
    tail.write("a line\n")
    tail.close()
    assert victim.read_text() == "as it was"
    assert path.read_text() == "a line\n"
    assert not path.is_symlink()


def test_the_log_goes_there_as_well_as_to_its_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = LogSection(level="info", json=True)
    logs.setup(section, "packet")
    logs.keep_tail(section, "packet", tmp_path)
    logger.bind(link=3).info("relay link closed")
    logger.debug("not wanted")
    assert '"event":"relay link closed"' in capsys.readouterr().err
    (line,) = logs.tail_path(tmp_path, "packet").read_text().splitlines()
    assert line.endswith("INFO packet relay link closed link=3")


def test_without_room_for_it_the_log_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup(LogSection(), "packet")
    logs.keep_tail(LogSection(), "packet", tmp_path / "nowhere")
    logger.info("still here")
    told = capsys.readouterr().err
    assert "the end of the log is not kept" in told
    assert "still here" in told

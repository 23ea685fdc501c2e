"""`homing trace record`, `show` and `sequence`: a tape from an agent that this process plays, read without one."""

from pathlib import Path

import pytest

from actors.cli.running import boot_now
from actors.cli.trace_record import TapeFile
from actors.trace.tape import Header, Tape
from tests.actors.cli.console import failure, homing, spawn
from tests.actors.cli.test_trace import TracedAgent, agent, mail
from tests.actors.trace.records import record

__all__ = ["agent"]  # the fixture

pytestmark = pytest.mark.process


def test_what_comes_and_what_was_is_kept_and_shown(
    agent: TracedAgent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fault.tape"
    arguments = ("trace", "record", str(path), "--since", "60s", "--for", "2s")
    with agent.ring(mail(1, at=boot_now() - 30), machines=b""), spawn(*arguments) as process:
        try:
            agent.wait_for_reader()
            agent.tell(mail(2), mail(3, cause=2))
            out, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, error) == (0, "")
    assert out.startswith("3 records, ")
    assert path.stat().st_mode & 0o777 == 0o600
    agent.die()
    shown = homing(capsys, "trace", "show", str(path)).out.splitlines()
    assert [line[line.rindex("  #") :] for line in shown] == ["  #1 <- #38", "  #2 <- #38", "  #3 <- #2"]
    assert "bob/relay_worker" in shown[0]
    assert len(homing(capsys, "trace", "show", str(path), "--cause", "2").out.splitlines()) == 2
    drawn = homing(capsys, "trace", "sequence", str(path)).out.splitlines()
    assert drawn[0].split() == ["relay_links", "bob/relay_worker"]
    assert len(drawn) == 4
    assert homing(capsys, "trace", "sequence", str(path), "--mermaid").out.startswith("sequenceDiagram\n")
    assert "nothing on the tape matched" in failure(capsys, "trace", "show", str(path), "--type", "offer_due")


def test_a_tape_is_cut_and_the_rest_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fault.tape"
    written = TapeFile(path, Header(node="alice"), 1_000_000)
    written.write([record(id=1), record(id=2)])
    written.close()
    path.write_bytes(path.read_bytes()[:-1])
    result = homing(capsys, "trace", "show", str(path))
    assert (result.code, len(result.out.splitlines())) == (0, 1)
    assert result.error.endswith(".tape ends, or is damaged, within a record; used is what stands before\n")


def test_two_files_hold_no_more_than_the_limit(tmp_path: Path) -> None:
    path, limit = tmp_path / "fault.tape", 20_000
    tape = TapeFile(path, Header(node="alice"), limit)
    tape.write(record(id=number) for number in range(1, 501))
    tape.close()
    before = path.with_name("fault.tape.1")
    assert path.stat().st_size + before.stat().st_size <= limit
    with before.open("rb") as older, path.open("rb") as newer:
        ids = [one.id for file in (older, newer) for one in Tape(file)]
    assert ids == list(range(ids[0], 501))


def test_what_cannot_be_done_is_told_in_one_line(
    agent: TracedAgent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a tape\n")
    assert failure(capsys, "trace", "show", str(text)) == f"{text}: it is no tape; homing trace record writes one"
    assert failure(capsys, "trace", "record", str(text)) == f"{text} exists and is left as it is; choose another name"
    assert failure(capsys, "trace", "show", str(tmp_path / "none")).startswith(f"{tmp_path}/none: No such file")
    assert failure(capsys, "trace", "sequence", code=2).startswith("give a tape, or --since TIME")
    assert failure(capsys, "trace", "sequence", str(text), "--since", "1m", code=2).startswith("give a tape, or")

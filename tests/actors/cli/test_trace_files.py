"""`homing trace merge`, `replay` and `sequence --html`: what is made of tapes, without an agent."""

from pathlib import Path

import pytest

from actors.cli.trace_record import TapeFile
from actors.peer import guard
from actors.trace.record import Record
from actors.trace.tape import Header, Tape
from tests.actors.cli.console import failure, homing
from tests.actors.trace.records import record
from tests.actors.trace.take_tape import TAPE
from tests.actors.trace.test_merge import ALICE_HEAD, BOB_HEAD, pair

pytestmark = pytest.mark.process


def kept(path: Path, header: Header, records: list[Record]) -> str:
    tape = TapeFile(path, header, 1_000_000)
    tape.write(records)
    tape.close()
    return str(path)


@pytest.fixture
def tapes(tmp_path: Path) -> tuple[str, str]:
    ours, theirs = pair()
    return kept(tmp_path / "a.tape", ALICE_HEAD, ours), kept(tmp_path / "b.tape", BOB_HEAD, theirs)


def test_two_tapes_become_one_that_is_read_like_any(
    tapes: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = str(tmp_path / "both.tape")
    result = homing(capsys, "trace", "merge", *tapes, "-o", both)
    assert (result.code, result.error) == (0, "")
    first, second = result.out.splitlines()
    assert first.startswith("5 records, ")
    assert first.endswith("2 offers and answers join them")
    assert second.startswith("the clock of bob is 8 min 20 s ahead of alice's, give or take 30")
    shown = homing(capsys, "trace", "show", both, "--cause", "1").out.splitlines()
    assert len(shown) == 5
    assert "alice:signal_link -> bob:signal" in shown[2]
    drawn = homing(capsys, "trace", "sequence", both).out
    assert drawn.split("\n")[0].split()[:2] == ["alice:relay_links", "alice:bob/offer_listener"]
    assert failure(capsys, "trace", "merge", *tapes, "-o", both).endswith("choose another with --output")
    assert failure(capsys, "trace", "merge", both, tapes[0], "-o", "x").endswith("both.tape joins two machines already")
    assert failure(capsys, "trace", "replay", both, code=2).endswith("replay the tape of one of them")


def test_tapes_that_nothing_joins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = kept(tmp_path / "a.tape", ALICE_HEAD, [record(id=1)])
    other = kept(tmp_path / "b.tape", BOB_HEAD, [record(id=2)])
    empty = kept(tmp_path / "c.tape", BOB_HEAD, [])
    told = homing(capsys, "trace", "merge", one, other, "-o", str(tmp_path / "both.tape")).error
    assert "by their wall clocks, which may be wrong: no offer of the one is on the other" in told
    assert failure(capsys, "trace", "merge", one, one).endswith("are of the same agent: 1 messages are on both")
    assert failure(capsys, "trace", "merge", one, empty).endswith("c.tape: there is no mail on it")


def test_a_tape_is_replayed_and_a_change_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = homing(capsys, "trace", "replay", str(TAPE))
    assert (result.code, result.error) == (0, "")
    lines = result.out.splitlines()
    assert len(lines) == 6
    assert all(line.endswith(" messages, every answer is the same") for line in lines)
    real = guard.Guard.handle
    monkeypatch.setattr(guard.Guard, "handle", lambda *told: real(*told)[:-1])
    result = homing(capsys, "trace", "replay", str(TAPE), "--actor", "guard")
    assert result.code == 1
    head, message, *diff = result.out.splitlines()
    assert head.startswith("bob/guard: ")
    assert head.endswith("the first answer that differs is to")
    assert "-> bob/guard" in message
    assert any(line.startswith("  -") for line in diff)
    assert homing(capsys, "trace", "replay", str(TAPE), "--actor", "bob/conn").code == 0


def test_what_cannot_be_replayed_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = kept(tmp_path / "a.tape", ALICE_HEAD, [record(id=1)])
    assert "it tells of no machine's state" in failure(capsys, "trace", "replay", bare)
    assert "--actor: relays is no actor that can be replayed; there are: conn, " in failure(
        capsys, "trace", "replay", str(TAPE), "--actor", "relays", code=2
    )
    assert failure(capsys, "trace", "replay", str(TAPE), "--peer", "dave") == "no peer dave; known are: bob"
    later = tmp_path / "later.tape"
    later.write_bytes(b"\x82\xa4tape\xa6homing\xa7version\x02")
    assert failure(capsys, "trace", "replay", str(later)).endswith("it is a tape of version 2; this homing reads 1")


def test_a_page_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.html"
    result = homing(capsys, "trace", "sequence", str(TAPE), "--html", str(file))
    assert (result.code, result.error) == (0, "")
    assert result.out.startswith("a page of ")
    assert file.stat().st_mode & 0o777 == 0o600
    assert failure(capsys, "trace", "sequence", str(TAPE), "--html", str(file)).endswith("choose another name")
    assert "give one of them" in failure(capsys, "trace", "sequence", str(TAPE), "--html", "x", "--mermaid", code=2)
    said = failure(capsys, "trace", "sequence", str(TAPE), "--type", "reset_peer")
    assert said.startswith("nothing matched among ")
    assert "their types are: " in said
    assert Tape(TAPE.open("rb")).header.node == "alice"

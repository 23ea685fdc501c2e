"""`homing top`: by textual's own pilot with a source that the test plays, and in a real terminal."""

import asyncio
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from actors.cli import top_view
from actors.cli.errors import CommandFailed
from actors.cli.report import PeerReport, Report, make_report
from actors.cli.top_rows import Cells
from actors.cli.top_table import PeerTable
from actors.cli.top_view import Help, Sure, Top
from config.keys import KEY_LEN, PublicKey, encode_key
from tests.actors.cli.console import really
from tests.actors.cli.fake_agent import FakeAgent, control, packet, peer, supervisor, tunnel
from tests.config.samples import BOB, CAROL

NOW = 10_000.0
PATIENCE_S = 30.0


class Played:
    """A source of two peers; one of them has a name that looks like markup."""

    def __init__(self) -> None:
        self.resets: list[str] = []
        self.failure: str | None = None
        self.lines = ["outside -> bob/conn  path_proven", "", "[red]outside[/] -> bob/guard"]
        self.going = threading.Event()
        self.bob = "bob"
        self.others = 0
        self.reports = 0

    def now(self) -> float:
        return NOW

    def report(self) -> Report:
        self.reports += 1
        peers = [peer(NOW, name=self.bob), peer(NOW, CAROL, name="[bold]carol", reason="not direct: [a]")]
        keys = [PublicKey(encode_key(number.to_bytes(KEY_LEN, "big"))) for number in range(1, self.others + 1)]
        peers += [peer(NOW, key, name=f"peer-{number:04}") for number, key in enumerate(keys)]
        tunnels = [tunnel(NOW, key, rx_bytes=1000 * self.reports) for key in keys]
        snapshots = [supervisor(NOW), control(NOW, *peers), packet(NOW, tunnel(NOW), tunnel(NOW, CAROL), *tunnels)]
        return make_report("alice", 7, snapshots, (), NOW)

    def mail(self, peer: PublicKey) -> Iterator[str]:
        yield from self.lines
        while not self.going.wait(0.01):
            yield ""

    def reset(self, peer: PublicKey, name: str) -> str:
        if self.failure is not None:
            raise CommandFailed(self.failure)
        self.resets.append(name)
        return f"{name} was reset"


def play(story: Callable[[Pilot[None], Top, Played], Awaitable[None]], others: int = 0) -> None:
    """Run a story on a screen of 80x24, with so many other peers."""

    async def run() -> None:
        source = Played()
        source.others = others
        app = Top(source)
        try:
            async with app.run_test(size=(80, 24)) as pilot:
                await pilot.pause()
                await story(pilot, app, source)
        finally:
            source.going.set()

    asyncio.run(run())


def screen(app: Top) -> str:
    """Return what the screen shows, as text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def chosen(app: Top) -> PublicKey | None:
    peer = app.query_one(PeerTable).chosen
    return None if peer is None else peer.public_key


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, screen(pilot.app)  # type: ignore[arg-type]
        await pilot.pause(0.01)


def test_everything_fits_and_nothing_is_markup() -> None:
    async def story(pilot: Pilot[None], app: Top, source: Played) -> None:
        text = screen(app)
        lines = text.splitlines()
        assert (len(lines), max(map(len, lines))) == (24, 80)
        assert "node alice: 2 of 2 peers connected" in lines[0]
        assert re.search(r"PEER +STATE +PATH +PROOF +RTT +IN/s +OUT/s +REC", text)
        assert re.search(r"\[bold\]carol +connected +relay 203\.0\.113\.1:8080 +2 s +12 ms +0 B +0 B +0 ", text)
        assert "control-0   mailbox 0, dead letters 0, restarts 0" in text
        assert "not direct: [a]" in text
        assert "q quit" in lines[-1]

    play(story)


def test_keys_filter_and_sort() -> None:
    async def story(pilot: Pilot[None], app: Top, source: Played) -> None:
        table = app.query_one(PeerTable)
        await pilot.press("slash", *"bob")
        assert len(table.peers) == 1
        await pilot.press("enter", "s")
        assert "(by trouble /bob) bob" in screen(app)
        await pilot.press("escape")
        assert len(table.peers) == 2
        await pilot.press("slash", *"zz")
        assert "no peer has 'zz' in it" in screen(app)

    play(story)


def test_one_peers_mail_is_followed_and_left() -> None:
    async def story(pilot: Pilot[None], app: Top, source: Played) -> None:
        await pilot.press("down", "f")
        await until(pilot, lambda: "[red]outside[/] -> bob/guard" in screen(app))
        assert "path_proven" in screen(app)
        await pilot.press("f")
        await pilot.pause()
        assert "path_proven" not in screen(app)
        assert not [worker for worker in app.workers if worker.group == "mail" and not worker.is_cancelled]

    play(story)


def test_a_reset_is_asked_about_first() -> None:
    async def story(pilot: Pilot[None], app: Top, source: Played) -> None:
        await pilot.press("r")
        assert isinstance(app.screen, Sure)
        assert "Reset [bold]carol?" in screen(app)
        await pilot.press("n")
        assert source.resets == []
        await pilot.press("r", "y")
        await until(pilot, lambda: "[bold]carol was reset" in screen(app))
        assert source.resets == ["[bold]carol"]
        source.failure = "it has no actors now"
        await pilot.press("r", "y")
        await until(pilot, lambda: "it has no actors now" in screen(app))

    play(story)


def test_the_chosen_peer_stays_chosen_when_it_moves() -> None:
    async def story(pilot: Pilot[None], app: Top, source: Played) -> None:
        await pilot.press("down")
        assert chosen(app) == BOB
        source.bob = "Aaron"
        app.refresh_rows()
        await pilot.pause()
        assert chosen(app) == BOB
        assert "Aaron: not direct" in str(app.query_one("#reason", Static).render())

    play(story)


def test_a_thousand_peers_scroll_and_are_found() -> None:
    async def story(pilot: Pilot[None], app: Top, source: Played) -> None:
        table = app.query_one(PeerTable)
        assert len(table.peers) == 1002
        for key, name in (("end", "peer-0999"), ("up", "peer-0998"), ("home", "[bold]carol"), ("down", "bob")):
            await pilot.press(key)
            assert f"(by name) {name}" in screen(app), key
            assert re.search(rf"^{re.escape(name)} +connected", screen(app), re.MULTILINE)
        await pilot.press("pagedown")
        await pilot.press("pagedown")
        heading, *rows = screen(app).splitlines()[1:]
        assert heading.startswith("PEER ")
        assert rows[0].startswith("peer-0")  # it scrolled under the heading
        await pilot.press("slash", *"0777")
        assert [peer.name for peer in table.peers] == ["peer-0777"]
        await pilot.press("escape", "f")
        await until(pilot, lambda: "path_proven" in screen(app))
        assert re.search("^peer-0777 +connected", screen(app), re.MULTILINE)  # in view still, with less room

    play(story, others=1000)


def test_a_refresh_works_out_only_what_is_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(pilot: Pilot[None], app: Top, source: Played) -> None:
        worked_out: list[str] = []
        real = app._rows.cells

        def cells(one: PeerReport) -> Cells:
            worked_out.append(one.name)
            return real(one)

        monkeypatch.setattr(app.query_one(PeerTable), "_cells", cells)
        app.refresh_rows()
        await pilot.pause()
        assert 0 < len(set(worked_out)) <= 24
        assert len(worked_out) <= 2 * 24
        reports = source.reports
        await pilot.press("slash", *"99", "escape", "s", "end")
        assert source.reports == reports  # keys arrange what was read; only time reads anew

    monkeypatch.setattr(top_view, "REFRESH_S", 3600.0)
    play(story, others=1000)


def test_a_click_chooses() -> None:
    async def story(pilot: Pilot[None], app: Top, source: Played) -> None:
        await pilot.click(PeerTable, offset=(3, 2))
        assert chosen(app) == BOB
        await pilot.click(PeerTable, offset=(3, 0))  # the heading
        await pilot.click(PeerTable, offset=(3, 5))  # below them
        assert chosen(app) == BOB

    play(story)


def test_help_closes_at_any_key() -> None:
    async def story(pilot: Pilot[None], app: Top, source: Played) -> None:
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        assert "r          reset the chosen peer; asks first" in screen(app)
        await pilot.press("x")
        assert not isinstance(app.screen, Help)

    play(story)


@pytest.mark.process
def test_no_terminal_is_said_in_one_line(tmp_path: Path) -> None:
    result = really("top", "--run-directory", str(tmp_path))
    assert (result.code, result.out) == (2, "")
    assert result.error == "homing: top needs a terminal; elsewhere use: homing status, or homing trace\n"


@pytest.mark.process
def test_the_library_that_draws_is_imported_by_no_other_command(tmp_path: Path) -> None:
    code = (
        "import sys; from actors.cli.application import execute; execute(['trace', '--help']); "
        "execute(['top']); sys.exit(any(name.startswith('textual') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.interop
def test_a_real_terminal_of_80_by_24(tmp_path: Path) -> None:
    with FakeAgent(tmp_path) as agent:
        agent.write_usual()
        with Terminal(f"{sys.executable} -m actors.cli top --run-directory {tmp_path}") as terminal:
            terminal.wait_for("bob +connected +relay 203")
            lines = terminal.text().splitlines()
            assert lines[0].startswith("node alice: 1 of 1 peers connected")
            assert max(map(len, lines)) <= 80
            terminal.wait_for("q quit")
            terminal.press("?")
            terminal.wait_for("Any key closes this")
            terminal.press("x", "r")
            terminal.wait_for("Reset bob")
            terminal.press("n", "q")
            terminal.wait_for("ended with 0")


class Terminal:
    """A tmux of its own with one window of 80x24."""

    numbers = itertools.count()

    def __init__(self, command: str) -> None:
        self._socket, self._command = f"homing-top-{os.getpid()}-{next(self.numbers)}", command

    def __enter__(self) -> "Terminal":
        shell = f"{self._command}; echo ended with $?; sleep 60"  # with exec before it, it is the window's process
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", shell)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], check=False, capture_output=True)

    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(0.2)  # as a person would; escape sequences are told apart by time

    def pid(self) -> int:
        return int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def wait_for(self, pattern: str) -> None:
        give_up_at = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.text()):
            assert time.monotonic() < give_up_at, self.text()
            time.sleep(0.05)

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, *arguments], capture_output=True, text=True, check=True,
            env={**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"},
        )  # fmt: skip
        return done.stdout

"""The screen of `homing top`.  What is shown is text, never markup: names come from a configuration."""

from collections.abc import Iterator
from typing import ClassVar, Protocol

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, RichLog, Static
from textual.worker import get_current_worker

from actors.cli.errors import CommandFailed
from actors.cli.report import PeerReport, Report
from actors.cli.top_rows import ORDERS, Rows, processes, summary
from actors.cli.top_table import PeerTable
from config.keys import PublicKey
from config.text import one_line

REFRESH_S = 1.0
MAX_LINES = 1000  # of mail that can be scrolled back to
BOX = """
SCREEN { align: center middle; }
SCREEN > Static { width: 76; max-width: 100%; height: auto; border: round $primary; padding: 0 1; }
"""
HELP = """\
up, down   choose a peer; also page up, page down, home, end
enter, f   follow the chosen peer's mail; again: leave it
/          show only peers whose name, state, path or key has this text in it
s          sort by name, trouble, age of proof, round trip time, traffic
r          reset the chosen peer; asks first
?          this
q          quit

PROOF is the age of the last authenticated packet on the path in use, REC counts recoveries.
Under the peers: why the chosen one is not up, or not direct; then the agent's processes.

Any key closes this."""


class Source(Protocol):
    """Where what is shown comes from."""

    def now(self) -> float:
        """Return the time of all ages."""

    def report(self) -> Report:
        """Return what the agent's processes wrote last."""

    def mail(self, peer: PublicKey) -> Iterator[str]:
        """Yield a peer's mail as it comes, a line each; "" when there was none for a moment."""

    def reset(self, peer: PublicKey, name: str) -> str:
        """Recover a peer by hand and return what came of it.  Raises CommandFailed."""


class Help(ModalScreen[None]):
    """Says what the keys do."""

    DEFAULT_CSS = (
        "Help { align: center middle; } Help > Static { width: 76; height: auto; border: round; padding: 0 1; }"
    )

    def compose(self) -> ComposeResult:
        """Show the text."""
        yield Static(HELP, markup=False)

    def on_key(self) -> None:
        """Close at any key."""
        self.dismiss()


class Sure(ModalScreen[bool]):
    """Asks before a reset."""

    DEFAULT_CSS = (
        "Sure { align: center middle; } Sure > Static { width: 64; height: auto; border: round; padding: 0 1; }"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,enter,q", "answer(False)", "no"),
    ]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._peer_name = name

    def compose(self) -> ComposeResult:
        """Ask."""
        told = f"Reset {self._peer_name}?  Its path is taken down for a second or two.\n\ny: yes    n: no"
        yield Static(told, markup=False)

    def action_answer(self, sure: bool) -> None:
        """Close with the answer."""
        self.dismiss(sure)


class Top(App[None]):
    """Peers above, what is said of the chosen one, its mail, the processes below."""

    CSS = """
    #summary, #message { height: 1; }
    PeerTable { height: 1fr; min-height: 4; }
    #reason { height: 1; color: $text-muted; }
    #mail { height: 1fr; border-top: solid; display: none; }
    #filter { height: 1; border: none; display: none; }
    #processes { height: auto; max-height: 5; border-top: solid; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("s", "sort", "sort"),
        Binding("f", "follow", "mail"),
        Binding("r", "reset", "reset"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q,ctrl+c", "quit", "quit", key_display="q"),
        Binding("escape", "unfilter", show=False),
    ]

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source, self._rows = source, Rows()
        self._order = 0
        self._wanted = ""
        self._followed: PeerReport | None = None

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        with Vertical():
            yield Static(id="summary", markup=False)
            yield PeerTable(self._rows.cells)
            yield Static(id="reason", markup=False)
            yield Input(id="filter", placeholder="part of a name, state, path or key", compact=True)
            yield RichLog(id="mail", max_lines=MAX_LINES, markup=False, highlight=False, wrap=False)
            yield Static(id="processes", markup=False)
            yield Static(id="message", markup=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Begin."""
        self._table.focus()
        self.refresh_rows()
        self.set_interval(REFRESH_S, self.refresh_rows)

    def refresh_rows(self) -> None:
        """Show how the agent is now."""
        report = self._source.report()
        self._rows.see(report, self._source.now())
        self.query_one("#summary", Static).update(summary(report))
        self.query_one("#processes", Static).update(processes(report))
        self._arrange()

    # --- keys ---

    def action_sort(self) -> None:
        """Sort by the next."""
        self._order = (self._order + 1) % len(ORDERS)
        self._arrange()

    def action_filter(self) -> None:
        """Let the operator say what is wanted."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_unfilter(self) -> None:
        """Show all peers."""
        self.query_one("#filter", Input).value = ""
        self._leave_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as it is typed."""
        self._wanted = event.value
        self._arrange()

    def on_input_submitted(self) -> None:
        """Keep the filter, and go back to the peers."""
        self._leave_filter()

    def action_follow(self) -> None:
        """Show the chosen peer's mail, or no more of it."""
        chosen, log = self._table.chosen, self.query_one("#mail", RichLog)
        self.workers.cancel_group(self, "mail")
        if chosen is None or self._follows(chosen):
            self._followed, log.display = None, False
            return
        self._followed, log.display = chosen, True
        log.clear()
        log.border_title = Text(f"mail of {chosen.name}")
        self._follow(chosen)

    def on_peer_table_entered(self) -> None:
        """Follow on enter."""
        self.action_follow()

    def on_peer_table_chosen(self) -> None:
        """Tell why the chosen peer is as it is."""
        self._tell_reason()

    def action_reset(self) -> None:
        """Ask, then reset the chosen peer."""
        chosen = self._table.chosen
        if chosen is not None:

            def answered(sure: bool | None) -> None:
                if sure:
                    self._reset(chosen)

            self.push_screen(Sure(chosen.name), answered)

    def action_help(self) -> None:
        """Say what the keys do."""
        self.push_screen(Help())

    # --- what takes long, on threads of its own ---

    @work(thread=True, group="mail")
    def _follow(self, peer: PeerReport) -> None:
        worker = get_current_worker()
        for line in self._source.mail(peer.public_key):
            if worker.is_cancelled:
                return
            if line:
                self.call_from_thread(self._write, peer, line)

    @work(thread=True, group="reset")
    def _reset(self, peer: PeerReport) -> None:
        self.call_from_thread(self._tell, f"{peer.name} is being reset ...")
        try:
            told = self._source.reset(peer.public_key, peer.name)
        except CommandFailed as error:
            told = "; ".join(error.lines)
        self.call_from_thread(self._tell, told)

    # --- the screen ---

    @property
    def _table(self) -> PeerTable:
        return self.query_one(PeerTable)

    def _arrange(self) -> None:
        """Show the peers that are wanted, in the order that is."""
        self._table.show(self._rows.of(ORDERS[self._order], self._wanted))
        self._tell_reason()

    def _follows(self, peer: PeerReport) -> bool:
        return self._followed is not None and self._followed.public_key == peer.public_key

    def _tell_reason(self) -> None:
        chosen = self._table.chosen
        if chosen is None:
            told = f"no peer has {self._wanted!r} in it" if self._wanted else "no peers yet"
        else:
            told = one_line(f"{chosen.name}: {chosen.reason}" if chosen.reason else chosen.name)
        how = f"by {ORDERS[self._order]}" + (f" /{self._wanted}" if self._wanted else "")
        self.query_one("#reason", Static).update(f"({how}) {told}")

    def _leave_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self._table.focus()

    def _write(self, peer: PeerReport, line: str) -> None:
        if self._follows(peer):
            self.query_one("#mail", RichLog).write(Text(line))

    def _tell(self, message: str) -> None:
        self.query_one("#message", Static).update(message)

"""The peers of `homing top`: any number of them, of which only those on the screen are worked out and drawn."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from actors.cli.report import PeerReport
from actors.cli.top_rows import HEADINGS, Cells

STATE = HEADINGS.index("STATE")
FIRST_NUMBER = HEADINGS.index("PROOF")  # of the columns that stand to the right
COLOURS = {
    "connected": Style(color="green"),
    "doubtful": Style(color="yellow"),
    "connecting": Style(color="red"),
    "quarantined": Style(color="red"),
}


class PeerTable(ScrollView, can_focus=True):
    """A heading, and a row for each peer, one of which is chosen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"peer-table--heading", "peer-table--chosen"}
    DEFAULT_CSS = """
    PeerTable { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    PeerTable > .peer-table--heading { background: $panel; color: $foreground; text-style: bold; }
    PeerTable > .peer-table--chosen { background: $primary; color: $text; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "choose(0)", show=False),
        Binding("end,G", "choose(-1)", show=False),
        Binding("enter", "enter", show=False),
    ]

    class Chosen(Message):
        """Another peer was chosen."""

    class Entered(Message):
        """Enter was pressed on the chosen peer."""

    def __init__(self, cells: Callable[[PeerReport], Cells]) -> None:
        super().__init__()
        self._cells = cells
        self._peers: Sequence[PeerReport] = ()
        self._place = 0  # of the chosen one
        self._seen: list[Cells] = []  # on the screen
        self._widths = [len(heading) for heading in HEADINGS]  # never less than once: columns stay where they are

    @property
    def peers(self) -> Sequence[PeerReport]:
        """All of them, as they are sorted."""
        return self._peers

    @property
    def chosen(self) -> PeerReport | None:
        """The chosen one; None: there is no peer."""
        return self._peers[self._place] if self._peers else None

    def show(self, peers: Sequence[PeerReport]) -> None:
        """Show these; the chosen peer stays chosen wherever it has moved to."""
        key = None if self.chosen is None else self.chosen.public_key
        self._peers = peers
        self._place = next((place for place, peer in enumerate(peers) if peer.public_key == key), 0)
        self.virtual_size = Size(0, 1 + len(peers))
        self._reveal()

    def render_line(self, y: int) -> Strip:
        """Draw a line of the screen: the heading stays, the rows scroll under it."""
        width, place = self.size.width, self._top + y - 1
        if y == 0:
            return self._strip(HEADINGS, self.get_component_rich_style("peer-table--heading"), width)
        if y > len(self._seen):
            return Strip.blank(width, self.rich_style)
        if place == self._place:
            return self._strip(self._seen[y - 1], self.get_component_rich_style("peer-table--chosen"), width)
        return self._strip(self._seen[y - 1], self.rich_style, width, coloured=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Work out the rows that come into view."""
        super().watch_scroll_y(old_value, new_value)
        self._look()

    def on_resize(self, _: Resize) -> None:
        """Keep the chosen peer in view."""
        self._reveal()

    def on_click(self, event: Click) -> None:
        """Choose the peer under the mouse."""
        place = self._top + event.y - 1
        if event.y > 0 and place < len(self._peers):
            self.action_choose(place)

    def action_move(self, rows: int) -> None:
        """Choose the peer so many rows further down."""
        self.action_choose(min(max(self._place + rows, 0), len(self._peers) - 1))

    def action_page(self, pages: int) -> None:
        """Choose the peer a screen further down."""
        self.action_move(pages * self._height)

    def action_choose(self, place: int) -> None:
        """Choose the peer at this place; -1: the last."""
        if self._peers:
            self._place = place % len(self._peers)
            self._reveal()
            self.post_message(self.Chosen())

    def action_enter(self) -> None:
        """Tell that enter was pressed."""
        self.post_message(self.Entered())

    @property
    def _top(self) -> int:
        """The first peer on the screen."""
        return self.scroll_offset.y

    @property
    def _height(self) -> int:
        """How many peers the screen holds."""
        return max(self.size.height - 1, 1)

    def _reveal(self) -> None:
        """Scroll to where the chosen peer is in view."""
        top = min(max(self._top, self._place - self._height + 1), self._place)
        if top != self._top:
            self.scroll_to(y=top, animate=False, force=True, immediate=True)
        self._look()

    def _look(self) -> None:
        """Work out the rows on the screen."""
        self._seen = [self._cells(peer) for peer in self._peers[self._top : self._top + self._height]]
        for column in range(len(HEADINGS)):
            self._widths[column] = max(self._widths[column], *(cell_len(row[column]) for row in self._seen), 0)
        self.refresh()

    def _strip(self, cells: Cells, style: Style, width: int, *, coloured: bool = False) -> Strip:
        segments = []
        for column, (cell, room) in enumerate(zip(cells, self._widths, strict=True)):
            text = " " * (room - cell_len(cell)) + cell if column >= FIRST_NUMBER else set_cell_size(cell, room)
            colour = COLOURS.get(cell) if coloured and column == STATE else None
            segments.append(Segment(f"{text} ", style if colour is None else style + colour))
        return Strip(segments).adjust_cell_length(width, style)

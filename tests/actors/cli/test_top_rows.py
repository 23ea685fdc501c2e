"""The rows of `homing top`."""

from typing import Any

import pytest

from actors.cli.report import Report, make_report
from actors.cli.top_rows import MAX_NAME, MAX_PATH, ORDERS, Order, Rows, brief, processes, summary
from tests.actors.cli.fake_agent import child, control, packet, peer, supervisor, tunnel
from tests.config.samples import BOB, CAROL

NOW = 10_000.0


def report(rx: int = 0, *, now: float = NOW, running: bool = True, **changes: Any) -> Report:
    peers = (peer(now), peer(now, CAROL, **{"name": "carol", **changes}))
    tunnels = (tunnel(now, rtt_s=0.5), tunnel(now, CAROL, rx_bytes=rx, tx_bytes=0, rtt_s=0.01))
    children = (child("control-0", restarts=2, reason="killed by SIGKILL"), child("packet", state="hung"))
    snapshots = [supervisor(now, *children), control(now, *peers), packet(now, *tunnels)]
    return make_report("alice", 7 if running else None, snapshots, (), now)


def names(rows: Rows, order: Order, wanted: str = "") -> list[str]:
    return [peer.name for peer in rows.of(order, wanted)]


def rates_in(*reports: tuple[float, Report]) -> list[str]:
    """Return how much a second came from the second peer, after each report."""
    rows, found = Rows(), []
    for now, one in reports:
        rows.see(one, now)
        found.append(rows.cells(rows.of("name")[1])[5])
    return found


def test_rates_come_from_two_reports() -> None:
    assert rates_in(
        (NOW, report(1000)),
        (NOW + 2, report(5000)),
        (NOW + 2.5, report(5000)),  # nobody has written since
        (NOW + 4, report(5000)),
        (NOW + 5, report(10)),  # the packet process began anew
    ) == ["0 B", "2 kB", "2 kB", "0 B", "0 B"]


def test_every_order_and_the_filter() -> None:
    rows = Rows()
    rows.see(report(0), NOW)
    rows.see(report(10**6, now=NOW + 1, state="connecting", path=None), NOW + 1)
    order = {each: names(rows, each) for each in ORDERS}
    assert order["name"] == ["bob", "carol"]
    assert order["trouble"] == ["carol", "bob"]
    assert order["rtt"] == ["bob", "carol"]
    assert order["traffic"] == ["carol", "bob"]
    assert set(map(len, order.values())) == {2}
    assert names(rows, "name", " CAR") == ["carol"]
    assert names(rows, "name", BOB[:10]) == ["bob"]
    assert names(rows, "name", "xyzzy") == []


def test_a_row_fits_a_small_terminal() -> None:
    rows = Rows()
    rows.see(report(0, name="x" * 60, relay_url=f"rels://{'y' * 80}:443"), NOW)
    cells = [rows.cells(peer) for peer in rows.of("name")]
    assert all(len(row[0]) <= MAX_NAME and len(row[2]) <= MAX_PATH for row in cells)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0 ms"), (0.0123, "12 ms"), (0.9999, "1 s"), (59.6, "1 min"), (3580, "1 h"), (90_000, "1 d")],
)
def test_times_are_brief(seconds: float, text: str) -> None:
    assert brief(seconds) == text


def test_the_rest_is_told_in_lines() -> None:
    assert summary(report()).startswith("node alice: 2 of 2 peers connected; signal connected, home connected")
    assert summary(report(running=False)) == "node alice is not running; what follows is its last word"
    lines = processes(report()).splitlines()
    assert "restarts 2 (killed by SIGKILL)" in lines[1]
    assert "packet      HUNG mailbox 0, dead letters 0" in lines[2]

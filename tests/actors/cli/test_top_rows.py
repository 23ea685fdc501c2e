"""The rows of `homing top`."""

from typing import Any

import pytest

from actors.cli.report import Report, make_report
from actors.cli.top_rows import ORDERS, Rows, brief, processes, summary
from tests.actors.cli.fake_agent import child, control, packet, peer, supervisor, tunnel
from tests.config.samples import BOB, CAROL

NOW = 10_000.0


def report(rx: int = 0, *, now: float = NOW, running: bool = True, **changes: Any) -> Report:
    peers = (peer(now), peer(now, CAROL, **{"name": "carol", **changes}))
    tunnels = (tunnel(now, rtt_s=0.5), tunnel(now, CAROL, rx_bytes=rx, tx_bytes=0, rtt_s=0.01))
    children = (child("control-0", restarts=2, reason="killed by SIGKILL"), child("packet", state="hung"))
    snapshots = [supervisor(now, *children), control(now, *peers), packet(now, *tunnels)]
    return make_report("alice", 7 if running else None, snapshots, (), now)


def names(rows: Any) -> list[str]:
    return [row.name for row in rows]


def test_rates_come_from_two_reports() -> None:
    rows = Rows()
    assert rows.of(report(1000), NOW, "name")[1].cells[5] == "0 B"
    assert rows.of(report(5000), NOW + 2, "name")[1].cells[5] == "2 kB"
    assert rows.of(report(5000), NOW + 2.5, "name")[1].cells[5] == "2 kB"  # nobody has written since
    assert rows.of(report(5000), NOW + 4, "name")[1].cells[5] == "0 B"
    assert rows.of(report(10), NOW + 5, "name")[1].cells[5] == "0 B"  # the packet process began anew


def test_every_order_and_the_filter() -> None:
    rows = Rows()
    rows.of(report(0), NOW, "name")
    second = report(10**6, now=NOW + 1, state="connecting", path=None)
    order = {each: names(rows.of(second, NOW + 1, each)) for each in ORDERS}
    assert order["name"] == ["bob", "carol"]
    assert order["trouble"] == ["carol", "bob"]
    assert order["rtt"] == ["bob", "carol"]
    assert set(map(len, order.values())) == {2}
    traffic = Rows()
    traffic.of(report(0), NOW, "name")
    assert names(traffic.of(report(10**6), NOW + 1, "traffic")) == ["carol", "bob"]
    assert names(rows.of(second, NOW + 1, "name", " CAR")) == ["carol"]
    assert names(rows.of(second, NOW + 1, "name", BOB[:10])) == ["bob"]
    assert names(rows.of(second, NOW + 1, "name", "xyzzy")) == []


def test_a_row_fits_a_small_terminal() -> None:
    long = report(0, name="x" * 60, relay_url=f"rels://{'y' * 80}:443")
    rows = Rows().of(long, NOW, "name")
    assert all(len(row.cells[0]) <= 12 and len(row.cells[2]) <= 22 for row in rows)


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

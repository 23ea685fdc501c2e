"""What `homing top` costs with 1,000 peers, all of which change every second, in a terminal of 80x24 (tmux)."""

import os
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from actors.cli.running import boot_now
from config.keys import KEY_LEN, PublicKey, encode_key
from tests.actors.cli.fake_agent import FakeAgent, control, packet, peer, supervisor, tunnel
from tests.actors.cli.test_top import Terminal

PEERS = 1000
WATCHED_S = 20.0
PAGES = 20
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def measure() -> dict[str, Any]:
    """Return the share of a core while nobody presses a key, and the processor seconds of a page further down."""
    with TemporaryDirectory() as directory, FakeAgent(Path(directory)) as agent:
        stopped = threading.Event()
        writer = threading.Thread(target=_write, args=(agent, stopped))
        writer.start()
        try:
            with Terminal(f"exec {sys.executable} -m actors.cli top --run-directory {directory}") as terminal:
                terminal.wait_for("peer-0003 +connected")
                return {"peers": PEERS, **_watch(terminal)}
        finally:
            stopped.set()
            writer.join()


def _watch(terminal: Terminal) -> dict[str, float]:
    pid = terminal.pid()
    began_s, began_at = _spent_s(pid), time.monotonic()
    time.sleep(WATCHED_S)
    share = (_spent_s(pid) - began_s) / (time.monotonic() - began_at)
    began_s, began_at = _spent_s(pid), time.monotonic()
    terminal.press(*["PageDown"] * PAGES)
    scrolling_s = _spent_s(pid) - began_s - share * (time.monotonic() - began_at)
    return {"core_share": round(share, 3), "page_s": round(max(scrolling_s, 0.0) / PAGES, 4)}


def _write(agent: FakeAgent, stopped: threading.Event) -> None:
    """Write snapshots as the agent's processes do, until it is enough."""
    keys = [PublicKey(encode_key(number.to_bytes(KEY_LEN, "big"))) for number in range(1, PEERS + 1)]
    second = 0
    while True:
        second, now = second + 1, boot_now()
        peers = (peer(now, key, name=f"peer-{number:04}") for number, key in enumerate(keys))
        tunnels = (
            tunnel(now, key, rx_bytes=1000 * second * number, heard_relayed_at=now - (number + second) % 50)
            for number, key in enumerate(keys)
        )
        agent.write([supervisor(now), control(now, *peers), packet(now, *tunnels)])
        if stopped.wait(1.0):
            return


def _spent_s(pid: int) -> float:
    """Return the processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

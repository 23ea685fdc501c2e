"""`homing demo`: two hosts behind NATs on this machine; the tunnel comes up, carries traffic, breaks, and recovers."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from actors.demo.ends import End
from actors.demo.network import NetworkUnavailable
from actors.demo.pair import HUB, RELAY_PORT, SIGNAL_PORT, Pair, PairFailed
from actors.demo.traffic import boot_time

TRANSFER_S = 4.0

# What to tell of the way up: message, the actor that receives it, words.
STEPS = (
    ("link_opened", "relays", "relay server reached: {instance_url}"),
    ("signal_connected", "signal", "signal server reached: {url}"),
    ("post_description", "signal_link", "{kind} sent to {other}"),
    ("offer_received", "offer_listener", "offer of {other} received"),
    ("relayed_opened", "relay_worker", "relayed connection to {other} is open"),
    ("handshake_completed", "wg_watcher", "WireGuard handshake completed ({role})"),
    ("path_proven", "conn", "path proven: {path}"),
    ("ice_pair_proven", "ice_worker", "ICE found a direct path: {local} -> {remote_kind} {path[ip]}:{path[port]}"),
)

# The mail that tells the story of a lost path.
STORY = (
    *("ice_pair_doubtful", "ice_doubtful", "ice_agent_ended", "ice_lost", "distress"),
    *("link_closed", "relayed_closed", "relay_lost", "path_lost", "path_dead", "path_doubtful", "send_offer"),
    *("open_link", "link_opened", "open_relayed", "open_on_link", "relayed_opened", "relay_ready", "set_path"),
    *("watch_path", "probe_path", "echo_answered", "handshake_completed", "path_proven", "path_ready"),
)


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked for the end: leave nothing behind."""


def run(*, json_output: bool) -> int:
    """Show the demo, or with `json_output` print its figures as one JSON object; return the exit code."""
    demo = Demo(quiet=json_output)
    try:
        with stoppable() as tidying, Pair("demo") as pair:
            figures = demo.show(pair)
            tidying()
    except NetworkUnavailable as error:
        print(f"homing: {error}", file=sys.stderr)
        return 1
    except PairFailed as error:
        if json_output:
            print(json.dumps({"ok": False, "error": str(error).splitlines()[0]}))
        print(f"homing: the demo failed: {error}", file=sys.stderr)
        return 1
    except Stopped:
        print("homing: stopped; everything the demo made is gone", file=sys.stderr)
        return 1
    if json_output:
        print(json.dumps(figures))
    return 0 if figures["ok"] else 1


class Demo:
    """The steps, told as they happen."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._begun_at = boot_time()

    def show(self, pair: Pair) -> dict[str, Any]:
        """Run the whole demo and return its figures."""
        self._heading("A small internet in network namespaces")
        self._tell(PICTURE)
        pair.start_servers()
        self._tell(f"signal server on {HUB}:{SIGNAL_PORT}, relay server on {HUB}:{RELAY_PORT}")

        self._heading("Two agents start")
        pair.start_flows()
        started_at = pair.start_agents()
        first_at = pair.first_reply_at()
        up_s = first_at - started_at
        direct_at = pair.direct_at(started_at)
        for end in pair.ends:
            self._steps(pair, end, started_at)
        self._tell(f"first reply through the tunnel {up_s:.2f} s after both agents were started")
        direct_s = None if direct_at is None else direct_at - started_at
        lost = pair.lost_since(first_at)
        if direct_s is not None:
            self._tell(f"direct path proven at both ends after {direct_s:.2f} s; packets lost on the way: {lost}")

        self._heading("Traffic")
        rtt_ms = pair.ping_ms()
        self._tell(f"ping {pair.alice.address} -> {pair.bob.address}: {rtt_ms:.2f} ms mean of 20")
        transfer_mbit_s = pair.transfer_mbit_s(TRANSFER_S)
        self._tell(f"one TCP stream, {TRANSFER_S:.0f} s: {transfer_mbit_s:.0f} Mbit/s")

        self._heading("homing status, at both ends")
        for end in pair.ends:
            self._tell(pair.status_text(end))
        path = pair.path(pair.alice)

        self._heading("The direct path is cut: nothing passes between the two NATs any more")
        cut_at = pair.cut_direct_path()
        cut_outage_s = pair.wait_recovered(cut_at)
        self._tell(f"over the relay again: longest silence between packets {cut_outage_s:.2f} s")
        self._story(pair, cut_at)

        self._heading("The relay server is killed and started again at once")
        killed_at = pair.restart_relay()
        outage_s = pair.wait_recovered(killed_at)
        self._tell(f"recovered by itself: longest silence between packets {outage_s:.2f} s")
        self._story(pair, killed_at)

        self._heading("Both agents stop")
        codes = pair.stop_agents()
        self._tell(f"exit codes {codes[0]} and {codes[1]}")
        return {
            "up_s": round(up_s, 3),
            "direct_s": None if direct_s is None else round(direct_s, 3),
            "packets_lost_at_upgrade": lost,
            "path": path,
            "rtt_ms": round(rtt_ms, 3),
            "transfer_mbit_s": round(transfer_mbit_s, 1),
            "direct_cut_outage_s": round(cut_outage_s, 3),
            "relay_restart_outage_s": round(outage_s, 3),
            "ok": path == "direct" and codes == [0, 0],
        }

    def _steps(self, pair: Pair, end: End, started_at: float) -> None:
        if self._quiet:
            return
        told = set()
        (other,) = (one.name for one in pair.ends if one is not end)
        for record in pair.trace_records(end, since_s=boot_time() - started_at):
            for tag, actor, words in STEPS:
                if record["type"] == tag and record["to"].rpartition("/")[2] == actor and words not in told:
                    told.add(words)
                    step = words.format(**record["fields"], other=other)
                    self._tell(f"{record['at'] - started_at:5.2f} s  {end.name:5}  {step}")

    def _story(self, pair: Pair, fault_at: float) -> None:
        self._tell("the mail that did it, at alice (homing trace):")
        self._tell(pair.trace_text(pair.alice, since_s=boot_time() - fault_at + 0.5, types=STORY))

    def _heading(self, text: str) -> None:
        if not self._quiet:
            print(f"\n[{boot_time() - self._begun_at:5.1f} s] {text}", flush=True)

    def _tell(self, text: str) -> None:
        if not self._quiet:
            for line in text.rstrip().splitlines():
                print(f"    {line}", flush=True)


PICTURE = f"""\
alice 10.77.0.1            {HUB} hub            bob 10.77.0.2
192.168.1.2 --- NAT --- signal and relay --- NAT --- 192.168.1.2
"""


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Let the first signal that asks for the end raise Stopped, and none after it disturb the tidying up.

    Hands out what to call when the tidying up begins by itself.
    """
    # One that is ignored already (nohup) stays so.
    before = {number: handler for number in STOPPING if (handler := signal.getsignal(number)) is not signal.SIG_IGN}

    def tidying() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        tidying()
        raise Stopped

    for number in before:
        signal.signal(number, stop)
    try:
        yield tidying
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

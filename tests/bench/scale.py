"""One whole agent with many relay-only peers, whose light remote ends are real in all that it hears.

python -m tests.bench.scale [PART ...] [--peers N] [--seconds N]

Parts: start, idle, commands, relay, flapping; all of them in this order without any named.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from actors.demo.traffic import boot_time
from tests.bench.agent import pss_mb
from tests.bench.many import PING_EVERY_S, Many, spread

PEERS = 1000
SECONDS = 40.0  # more than a keepalive and a probe of each path take to come round
PINGING = 20  # of the remotes
APART_S = 0.02  # from the start of one remote end to the next
CONNECTED_S = 180.0
SETTLE_S = 20.0
RELAY_AWAY_S = (0.2, 3.0)  # shorter and longer than an offer waits for it
RELAY_WATCHED_S = 25.0
FLAPPING = 1  # which of them; it does not ping
FLAPS = 8
FLAP_S = 2.0  # that a remote is away, and is there
PARTS = ("start", "idle", "commands", "relay", "flapping")


def measure(
    parts: tuple[str, ...] = PARTS, peers: int = PEERS, seconds: float = SECONDS, away: tuple[float, ...] = RELAY_AWAY_S
) -> dict[str, Any]:
    """Return the figures of these parts."""
    with Many(peers, ice=False, apart_s=APART_S, pinging=PINGING) as many:
        running_s = many.wait("all mailboxes running", CONNECTED_S, lambda: _actors(many) > 6 * peers)
        result: dict[str, Any] = {"peers": peers, "mailboxes_running_s": round(running_s, 1)}
        many.start_light()
        connected_s = many.wait("all peers connected", CONNECTED_S, lambda: _connected(many) == peers)
        result["all_connected_s"] = round(connected_s, 1)
        time.sleep(SETTLE_S)
        if "idle" in parts:
            result["idle"] = _idle(many, seconds)
        if "commands" in parts:
            result["commands"] = _commands(many)
        if "relay" in parts:
            result["relay_restart"] = [_relay(many, away_s) for away_s in away]
        if "flapping" in parts:
            result["flapping"] = _flapping(many)
        result["connected_at_the_end"] = _connected(many)
        many.stop()
        return result


def _actors(many: Many) -> int:
    found: int = many.snapshot("control-0").get("runtime", {}).get("actors", 0)
    return found


def _connected(many: Many) -> int:
    return sum(peer.state == "connected" for peer in many.reports())


def _idle(many: Many, seconds: float) -> dict[str, Any]:
    """Watch an agent whose peers send nothing but keepalives, but for those that ping."""
    many.ask_light(do="ping", on=False)
    time.sleep(1.0)
    percent, passed_s = many.cpu_percent(seconds)
    pss = {name: pss_mb(pid) for name, pid in many.pids().items()}
    many.ask_light(do="ping", on=True)
    return {
        "cpu_percent_of_a_core": {name: round(value, 2) for name, value in percent.items()},
        "total": round(sum(percent.values()), 2),
        "seconds": round(passed_s, 1),
        "pss_mb": pss,
    }


def _commands(many: Many) -> dict[str, Any]:
    """Time what an operator asks."""
    found = {}
    for words in (("status",), ("status", "--json"), ("status", "peer7"), ("why", "peer7")):
        cpu_s, took_s, said = many.command(*words)
        found[" ".join(words)] = {"cpu_s": round(cpu_s, 3), "took_s": round(took_s, 3), "bytes": len(said)}
    return found


def _relay(many: Many, away_s: float) -> dict[str, Any]:
    """Kill the relay server, and start it again after this long."""
    many.wait("all peers connected", CONNECTED_S, lambda: _connected(many) == many.peers)
    many.ask_light(do="rest")  # once all have begun
    before = {**many.cpu_s(), "relay": 0.0}
    killed_at = many.kill_relay()
    time.sleep(away_s)
    many.start_relay()
    time.sleep(RELAY_WATCHED_S)
    spent = {name: round(cpu_s - before[name], 2) for name, cpu_s in many.cpu_s().items()}
    told = many.ask_light(do="tell", since=killed_at)
    back = [times[0] - killed_at for times in told["heard_at"] if times]
    homed = [times[0] - killed_at for times in told["homed_at"] if times]
    offers = sorted(at for times in told["offered_at"] for at in times)
    gaps = [longest_gap(answers, killed_at) for answers in told["answered"]]
    return {
        "away_s": away_s,
        "cpu_s": spent,
        "remotes_at_the_relay_again": len(homed),
        "at_the_relay_again_s": spread(homed),
        "paths_proven_again": len(back),
        "proven_again_s": spread(back),
        "outage_s": spread(gaps),
        "offers": len(offers),
        "most_offers_in_0.1_s": max((sum(at <= each < at + 0.1 for each in offers) for at in offers), default=0),
        "most_offers_in_1_s": max((sum(at <= each < at + 1.0 for each in offers) for at in offers), default=0),
        "offers_per_0.5_s": histogram(offers, killed_at, 0.5),
        "connected": _connected(many),
    }


def _flapping(many: Many) -> dict[str, Any]:
    """Have one remote go and come back, again and again, and look what the others notice."""
    many.wait("all peers connected", CONNECTED_S, lambda: _connected(many) == many.peers)
    time.sleep(SETTLE_S)
    before = {peer.public_key: peer.recoveries for peer in many.reports()}
    quiet = _watch(many, lambda: time.sleep(2 * FLAPS * FLAP_S))
    flapping = _watch(many, lambda: _flap(many))
    time.sleep(SETTLE_S)
    flapped = many.peer_key(FLAPPING)
    recovered = {peer.public_key for peer in many.reports() if peer.recoveries != before[peer.public_key]}
    return {
        "flaps": FLAPS,
        "quiet": quiet,
        "flapping": flapping,
        "it_recovered": flapped in recovered,
        "others_that_recovered": len(recovered - {flapped}),
    }


def _flap(many: Many) -> None:
    for _ in range(FLAPS):
        many.ask_light(do="end", index=FLAPPING)
        time.sleep(FLAP_S)
        many.ask_light(do="start", index=FLAPPING)
        time.sleep(FLAP_S)


def _watch(many: Many, act: Callable[[], None]) -> dict[str, Any]:
    """Act, and return what the other peers' packets and mail went through meanwhile."""
    began_at = boot_time()
    interval = f"{2 * FLAPS * FLAP_S:.0f}s"
    table = many.spawn_command("trace", "queues", "--json", "--count", "1", "--interval", interval)
    act()
    queues = [one for one in json.loads(table.communicate()[0])["queues"] if one["process"] == "control-0"]
    others = [one for one in queues if "/" in one["actor"] and many.peer_key(FLAPPING) not in one["actor"]]
    answered = many.ask_light(do="tell", since=began_at)["answered"]
    trips = [trip_s for answers in answered for _, trip_s in answers]
    return {
        "ping_s": spread(trips),
        "longest_gap_s": round(max(longest_gap(answers, began_at) for answers in answered), 3),
        "mail_to_others": sum(one["handled"] for one in others),
        "mail_to_it": sum(one["handled"] for one in queues if many.peer_key(FLAPPING) in one["actor"]),
        "mail_to_node": sum(one["handled"] for one in queues if "/" not in one["actor"]),
        "deepest_queue": max((one["depth"] for one in queues), default=0),
        "oldest_mail_s": round(max((one["oldest_s"] for one in queues), default=0.0), 4),
        "service_p99_s": round(max((one["service_p99_s"] for one in queues), default=0.0), 4),
    }


def longest_gap(answers: list[tuple[float, float]], since: float) -> float:
    """Return the longest gap between answers, less the wait for the next ping."""
    times = [since, *(at for at, _ in answers)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return max(max(gaps, default=0.0) - PING_EVERY_S, 0.0)


def histogram(times: list[float], since: float, width_s: float) -> list[int]:
    counts = [0] * int(RELAY_WATCHED_S / width_s)
    for at in times:
        counts[min(int((at - since) / width_s), len(counts) - 1)] += 1
    while counts and counts[-1] == 0:
        counts.pop()
    return counts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--peers", type=int, default=PEERS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument(
        "--away", type=float, nargs="+", default=RELAY_AWAY_S, help="that the relay server is killed for"
    )
    options = parser.parse_args()
    away = tuple(options.away)
    print(json.dumps(measure(tuple(options.parts) or PARTS, options.peers, options.seconds, away)))


if __name__ == "__main__":
    main()

"""What `homing status` knows, for Prometheus: the text exposition format 0.0.4.

Names are `homing_...` with their unit; ages instead of times, since our clock is the machine's boot time.  A label's
values are few: names of peers (MAX_PEERS, the rest is counted), and words of ours.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from actors.cli.report import PeerReport, Report, State
from actors.messages.recoveries import Cause
from wg.paths import PathKind

MAX_PEERS = 2_000
MAX_EVENTS = 500  # of a process
STATES: tuple[State, ...] = get_args(State)
PATHS: tuple[PathKind, ...] = get_args(PathKind)
CAUSES: tuple[Cause, ...] = get_args(Cause)

Kind = Literal["gauge", "counter"]


@dataclass(slots=True)
class Family:
    """The samples of one name."""

    name: str
    kind: Kind
    help: str
    samples: list[str] = field(default_factory=list)

    def add(self, value: float | None, **labels: str) -> None:
        """Add a sample; None: there is none."""
        if value is not None:
            inner = ",".join(f'{name}="{escape(text)}"' for name, text in labels.items())
            where = f"{self.name}{{{inner}}}" if inner else self.name
            self.samples.append(f"{where} {_number(value)}")

    def lines(self) -> Iterator[str]:
        """Yield the family as text."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        yield from self.samples


def metrics_text(report: Report, version: str, own: Mapping[str, int]) -> str:
    """Return all metrics of a report; `own`: what the metrics server counts of itself."""
    families = [*_node(report, version, own), *_peers(report.peers[:MAX_PEERS]), *_links(report), *_processes(report)]
    return "".join(f"{line}\n" for family in families if family.samples for line in family.lines())


def escape(text: str) -> str:
    """Return a label's value as it stands between quotes."""
    clean = text.encode("utf-8", "backslashreplace").decode()
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _node(report: Report, version: str, own: Mapping[str, int]) -> Iterator[Family]:
    info = Family("homing_info", "gauge", "The agent that this is of; always 1.")
    info.add(1, node=report.node, version=version)
    yield info
    draining = Family("homing_draining", "gauge", "1 while the agent stops.")
    draining.add(report.draining)
    yield draining
    count = Family("homing_peers", "gauge", "Configured peers by state; connected means heard from lately.")
    for state in STATES:
        count.add(sum(peer.state == state for peer in report.peers), state=state)
    yield count
    left_out = Family("homing_peers_left_out", "gauge", "Peers that these metrics do not tell of, being too many.")
    left_out.add(max(len(report.peers) - MAX_PEERS, 0))
    yield left_out
    drops = Family("homing_dropped_packets_total", "counter", "Packets of no peer that were dropped, by reason.")
    for reason, number in sorted(report.drops.items()):
        drops.add(number, reason=reason)
    yield drops
    repairs = Family("homing_interface_repairs_total", "counter", "Times that our interface had to be put right.")
    repairs.add(report.interface_repairs)
    yield repairs
    requests = Family("homing_metrics_requests_total", "counter", "Requests for metrics, by what came of them.")
    for outcome, number in sorted(own.items()):
        requests.add(number, outcome=outcome)
    yield requests


def _peers(peers: Iterable[PeerReport]) -> list[Family]:
    state = Family("homing_peer_state", "gauge", "1 for the state that the peer is in.")
    path = Family("homing_peer_path", "gauge", "1 for the path in use.")
    proof = Family("homing_peer_proof_age_seconds", "gauge", "Since an authenticated packet came on the path in use.")
    handshake = Family("homing_peer_handshake_age_seconds", "gauge", "Since the last WireGuard handshake.")
    rtt = Family("homing_peer_rtt_seconds", "gauge", "The last round trip inside the tunnel.")
    received = Family("homing_peer_received_bytes_total", "counter", "Bytes received from the peer.")
    sent = Family("homing_peer_sent_bytes_total", "counter", "Bytes sent to the peer.")
    drops = Family("homing_peer_dropped_packets_total", "counter", "Packets of the peer that were dropped, by reason.")
    recoveries = Family("homing_peer_recoveries_total", "counter", "Lost paths that were proven again, by cause.")
    disruptive = Family("homing_peer_disruptive_actions_total", "counter", "Actions that replaced what had worked.")
    quarantined = Family("homing_peer_quarantined", "gauge", "1 while the peer is tried slowly.")
    for peer in peers:
        for each in STATES:
            state.add(peer.state == each, peer=peer.name, state=each)
        for kind in PATHS:
            path.add(peer.path == kind, peer=peer.name, path=kind)
        proof.add(peer.proof_age_s, peer=peer.name)
        handshake.add(peer.handshake_age_s, peer=peer.name)
        rtt.add(peer.rtt_s, peer=peer.name)
        received.add(peer.rx_bytes, peer=peer.name)
        sent.add(peer.tx_bytes, peer=peer.name)
        for reason, number in sorted(peer.drops.items()):
            drops.add(number, peer=peer.name, reason=reason)
        if (told := peer.recovery) is not None:
            for cause in CAUSES:
                past = told.by_cause.get(cause)
                recoveries.add(0 if past is None else past.count, peer=peer.name, cause=cause)
            disruptive.add(told.disruptive_actions, peer=peer.name)
            quarantined.add(told.quarantined_s is not None, peer=peer.name)
    return [state, path, proof, handshake, rtt, received, sent, drops, recoveries, disruptive, quarantined]


def _links(report: Report) -> Iterator[Family]:
    up = Family("homing_link_connected", "gauge", "1 while the link to this signal or relay server is connected.")
    age = Family("homing_link_state_age_seconds", "gauge", "Since the link came to be so.")
    for link in report.links:
        labels = {"url": link.url, "role": link.role, "transport": link.transport or ""}
        up.add(link.state == "connected", **labels)
        age.add(link.age_s, url=link.url, role=link.role)
    yield up
    yield age


def _processes(report: Report) -> list[Family]:
    up = Family("homing_process_up", "gauge", "1 while the process makes progress.")
    age = Family("homing_process_snapshot_age_seconds", "gauge", "Since the process last wrote how it fares.")
    restarts = Family("homing_process_restarts_total", "counter", "Restarts of the process.")
    actors = Family("homing_process_actor_restarts_total", "counter", "Restarts of actors inside the process.")
    depth = Family("homing_process_mailbox_depth", "gauge", "Messages in the fullest mailbox.")
    dead = Family("homing_process_dead_letters_total", "counter", "Messages that no actor took.")
    events = Family("homing_process_events_total", "counter", "What actors, mailboxes and links have counted, by name.")
    for one in report.processes:
        up.add(not one.silent and one.state in {"", "up"}, process=one.process)
        age.add(one.snapshot_age_s, process=one.process)
        restarts.add(one.restarts, process=one.process)
        actors.add(one.actor_restarts, process=one.process)
        depth.add(one.mailbox_depth, process=one.process)
        dead.add(one.dead_letters, process=one.process)
        for event, number in list(one.counters.items())[:MAX_EVENTS]:
            events.add(number, process=one.process, event=event)
    return [up, age, restarts, actors, depth, dead, events]


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, bool | int) else f"{value:.6g}"

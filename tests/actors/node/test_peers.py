from random import Random
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.addresses import (
    CONTROL_0,
    ICE_AGENTS,
    PACKET,
    RELAY_LINKS,
    RELAYS,
    SIGNAL,
    SIGNAL_LINK,
    STATUS,
    TUNNELS,
    peer_addresses,
    process_actor,
)
from actors.effects import Address
from actors.messages.node import (
    HomeRelayChanged,
    KnownPeers,
    OutsideEvent,
    PeerForgotten,
    PeerStarted,
    SignalLinkDoubted,
    StartPeersDue,
    TellEventsDue,
)
from actors.messages.packet import (
    CloseIceAgent,
    ConfigurePeer,
    IceAgentSnapshot,
    IceAgentsSnapshot,
    IceAgentsSnapshotWanted,
    LinkSnapshot,
    ProveIceNow,
    ProveLinksNow,
    RelayedSnapshot,
    RelayLinksSnapshot,
    RelayLinksSnapshotWanted,
    RemovePeer,
    TunnelSnapshot,
    TunnelsSnapshot,
    TunnelsSnapshotWanted,
)
from actors.messages.process import (
    PeerFailed,
    PeersConfigured,
    PeerSettings,
    ProcessRestarted,
    Resumed,
    StartPeer,
    StopPeer,
)
from actors.messages.status import PeerStatus
from actors.node.outside import FIRST_PAUSE_S, OFFERS_PER_S, TOLD_AT_ONCE, TURN_S
from actors.node.peers import (
    FAILURES,
    PARK_S,
    SNAPSHOT_S,
    STARTS_AT_ONCE,
    Asking,
    Peers,
    Running,
    Started,
    Unconfigured,
)
from config.keys import PublicKey, Secret, encode_key
from tests.kit.bench import Bench
from transport.signal.messages import IceCredentials
from wg.paths import RelayedPath

ALICE, BOB, CAROL = (PublicKey(encode_key(bytes([number]) * 32)) for number in (1, 2, 3))
CONTROL = process_actor(CONTROL_0)
HOME = HomeRelayChanged(url="rel://home.test:80", server_ip="192.0.2.7")
NO_TUNNELS = TunnelsSnapshot(tunnels=())
NO_LINKS = RelayLinksSnapshot(links=(), connections=())
NO_AGENTS = IceAgentsSnapshot(agents=())
NOTHING = (NO_TUNNELS, NO_LINKS, NO_AGENTS)
RESTARTED = ProcessRestarted(process=PACKET, incarnation=9)


def settings_of(key: PublicKey, *allowed_ips: str) -> PeerSettings:
    return PeerSettings(peer=key, name=key[:4], allowed_ips=allowed_ips)


def configured(*keys: PublicKey) -> PeersConfigured:
    return PeersConfigured(peers=tuple(settings_of(key) for key in keys))


def failed(key: PublicKey) -> PeerFailed:
    return PeerFailed(peer=key, actor=f"peer/{key}/conn", error="AssertionError")


def running(*keys: PublicKey, packet_incarnation: int = 8) -> Bench:
    bench = Bench(Peers((CONTROL_0,), rng=Random(1), packet_incarnation=packet_incarnation))
    bench.tell(configured(*keys), *NOTHING)
    bench.tell(*(PeerStarted(peer=key) for key in keys))
    bench.tags()
    return bench


def starts(bench: Bench) -> list[PublicKey]:
    return [mail.settings.peer for mail in bench.mail(CONTROL) if isinstance(mail, StartPeer)]


def order(bench: Bench, *kinds: type) -> list[type]:
    """Return the types of the mail not looked at yet that are among these, in order."""
    return [type(send.message) for send in bench.outbox if type(send.message) in kinds]


# --- starting ---


def test_peers_start_when_the_packet_process_has_told_what_it_holds() -> None:
    bench = Bench(Peers((CONTROL_0,), rng=Random(1)))
    assert isinstance(bench.state, Unconfigured)
    bench.tell(configured(ALICE, BOB))
    known = KnownPeers(peers=frozenset({ALICE, BOB}))
    assert bench.mail(SIGNAL) == bench.mail(RELAYS) == [known]
    assert [type(mail) for mail in bench.mail(TUNNELS)] == [ConfigurePeer, ConfigurePeer, TunnelsSnapshotWanted]
    assert bench.mail(RELAY_LINKS) == [RelayLinksSnapshotWanted()]
    assert bench.mail(ICE_AGENTS) == [IceAgentsSnapshotWanted()]
    for snapshot in (NO_TUNNELS, NO_AGENTS):
        bench.tell(snapshot)
        assert bench.mail(CONTROL) == []
    bench.tell(NO_LINKS)
    assert bench.mail(CONTROL) == [StartPeer(settings=settings_of(ALICE)), StartPeer(settings=settings_of(BOB))]
    assert bench.timers == {}


def test_an_agent_of_a_peer_that_was_taken_out_is_closed() -> None:
    bench = Bench(Peers((CONTROL_0,), rng=Random(1)))
    bench.tell(configured(ALICE))
    bench.mail(ICE_AGENTS)
    bench.tell(IceAgentsSnapshot(agents=(agent_of(ALICE), agent_of(BOB))))
    assert bench.mail(ICE_AGENTS) == [CloseIceAgent(peer=BOB, session=b"01234")]


def agent_of(key: PublicKey) -> IceAgentSnapshot:
    local = IceCredentials(ufrag="u" * 16, pwd=Secret(b"p" * 32))
    return IceAgentSnapshot(
        peer=key,
        session=b"01234",
        remote_session=b"56789",
        local=local,
        controlling=True,
        ours=True,
        state="checking",
    )


def test_and_do_not_wait_for_it_for_long() -> None:
    bench = Bench(Peers((CONTROL_0,), rng=Random(1)))
    bench.tell(configured(ALICE), NO_LINKS)
    bench.advance(SNAPSHOT_S)
    assert starts(bench) == [ALICE]
    bench.tags()
    bench.tell(NO_TUNNELS)  # too late
    assert bench.tags() == []


def test_a_peer_begins_from_the_path_that_the_packet_process_still_holds() -> None:
    bench = Bench(Peers((CONTROL_0,), rng=Random(1)))
    used, unopened, unlinked = (RelayedPath(link=4, generation=n) for n in (70, 71, 72))
    tunnels = TunnelsSnapshot(
        tunnels=(
            TunnelSnapshot(peer=ALICE, path=used, heard_relayed_at=990.0),
            TunnelSnapshot(peer=BOB, path=unopened),
            TunnelSnapshot(peer=CAROL, path=unlinked),
        )
    )
    links = RelayLinksSnapshot(
        links=(LinkSnapshot(link=4, url="rel://lb.test:80", instance_url="rel://home.test:80"),),
        connections=(
            RelayedSnapshot(peer=ALICE, generation=70, link=4, open=True),
            RelayedSnapshot(peer=BOB, generation=71, link=4, open=False),
        ),
    )
    bench.tell(configured(ALICE, BOB, CAROL), HOME, tunnels, links, NO_AGENTS)
    resumed = Resumed(
        path="relayed",
        relay_generation=70,
        relay_link=4,
        relay_url="rel://home.test:80",
        heard_relayed_at=990.0,
    )
    found = [mail for mail in bench.mail(CONTROL) if isinstance(mail, StartPeer)]
    assert [start.resumed for start in found] == [resumed, None, None]
    assert {start.home_relay_url for start in found} == {HOME.url}


def test_many_peers_are_started_some_at_a_time() -> None:
    keys = [PublicKey(encode_key(number.to_bytes(32, "big"))) for number in range(1000)]
    bench = Bench(Peers((CONTROL_0,), rng=Random(1)))
    bench.tell(configured(*keys), *NOTHING)
    assert len(starts(bench)) == STARTS_AT_ONCE
    begun, total = bench.now, STARTS_AT_ONCE
    bench.tags()
    while total < 1000:
        bench.advance(0.01)
        assert starts(bench) == []  # what the first were told of may have passed
        if TunnelsSnapshotWanted() in bench.mail(TUNNELS):
            bench.tell(*NOTHING)
        now = len(starts(bench))
        assert now <= STARTS_AT_ONCE
        total += now
    assert bench.now - begun < 2
    assert isinstance(bench.state, Running)


def test_peers_are_spread_over_the_control_processes() -> None:
    controls = ("control-0", "control-1", "control-2")
    keys = [PublicKey(encode_key(number.to_bytes(32, "big"))) for number in range(30)]
    bench = Bench(Peers(controls, rng=Random(1)))
    bench.tell(configured(*keys), *NOTHING)
    counts = [len([m for m in bench.mail(process_actor(name)) if isinstance(m, StartPeer)]) for name in controls]
    assert sum(counts) == 30
    assert min(counts) > 0
    bench.tell(ProcessRestarted(process="control-1", incarnation=5), *NOTHING)
    again = [len([m for m in bench.mail(process_actor(name)) if isinstance(m, StartPeer)]) for name in controls]
    assert again == [0, counts[1], 0]


# --- what changes meanwhile ---


def test_what_changed_before_the_actors_were_there_is_made_up_for() -> None:
    bench = Bench(Peers((CONTROL_0,), rng=Random(1)))
    bench.tell(configured(ALICE), *NOTHING, HOME, RESTARTED)
    bench.tags()
    bench.tell(PeerStarted(peer=ALICE))
    assert bench.tags() == [
        "ProcessRestarted",  # ICE worker, conn, watcher, relay worker: in this order
        "ProcessRestarted",
        "ProcessRestarted",
        "ProcessRestarted",
        "HomeRelayChanged",  # relay worker, offer listener
        "HomeRelayChanged",
        "OutsideEvent",  # watcher, guard
        "OutsideEvent",
    ]
    bench.tell(PeerStarted(peer=ALICE))
    assert bench.tags() == []


def test_the_home_relay_and_outside_events_go_to_whom_they_concern() -> None:
    bench = running(ALICE)
    to = peer_addresses(ALICE)
    bench.tell(HOME, OutsideEvent(kind="signal_connected"))
    event = OutsideEvent(kind="signal_connected", spread_s=1 / OFFERS_PER_S)
    assert bench.mail(to.relay_worker) == [HOME]
    assert bench.mail(to.offer_listener) == [HOME, event]
    assert bench.mail(to.guard) == bench.mail(to.wg_watcher) == [event]
    assert bench.mail(ICE_AGENTS) == []


@pytest.mark.parametrize("kind", ["network_changed", "resumed"])
def test_agents_and_links_are_proven_at_once_when_the_network_changed(
    kind: Literal["network_changed", "resumed"],
) -> None:
    bench = running(ALICE, BOB)
    bench.tell(OutsideEvent(kind=kind, detail="our addresses are 10.0.0.1"))
    assert bench.mail(ICE_AGENTS) == [ProveIceNow(reason="our addresses are 10.0.0.1")]
    assert bench.mail(RELAY_LINKS) == [ProveLinksNow(reason="our addresses are 10.0.0.1")]
    assert bench.mail(SIGNAL_LINK) == [SignalLinkDoubted(reason="our addresses are 10.0.0.1")]


def test_no_link_is_doubted_because_another_came_back() -> None:
    bench = running(ALICE)
    bench.tell(*(OutsideEvent(kind=kind) for kind in ("signal_connected", "relay_connected", "configuration_changed")))
    assert bench.mail(ICE_AGENTS) == bench.mail(RELAY_LINKS) == bench.mail(SIGNAL_LINK) == []
    assert len(bench.mail(peer_addresses(ALICE).wg_watcher)) == 3


def test_an_outside_event_restarts_nothing() -> None:
    bench = running(ALICE, BOB)
    for kind in ("network_changed", "resumed", "configuration_changed"):
        bench.tell(OutsideEvent(kind=kind))
        bench.advance(60.0)
    assert {type(send.message) for send in bench.outbox} == {
        OutsideEvent,
        ProveIceNow,
        ProveLinksNow,
        SignalLinkDoubted,
    }
    assert bench.timers == {}


def test_of_many_events_of_a_kind_the_first_is_told_at_once_and_the_last_when_they_pause() -> None:
    bench = running(ALICE)
    watcher = peer_addresses(ALICE).wg_watcher
    for number in range(5):
        bench.tell(OutsideEvent(kind="network_changed", detail=f"change {number}"))
    assert [event.detail for event in bench.mail(watcher)] == ["change 0"]
    bench.advance(FIRST_PAUSE_S)
    assert [event.detail for event in bench.mail(watcher)] == ["change 4"]
    bench.advance(60.0)
    assert bench.mail(watcher) == []
    assert isinstance(bench.machine, Peers)
    assert bench.machine.counters == {"events_network_changed": 5, "events_held": 4}


def test_of_many_peers_some_at_a_time_are_told_of_an_event() -> None:
    keys = [PublicKey(encode_key(number.to_bytes(32, "big"))) for number in range(1000)]
    bench = running()
    bench.tell(configured(*keys), *NOTHING)
    while StartPeersDue in bench.timers:
        bench.advance(1.0)
        bench.tell(*NOTHING)
    bench.tags()
    bench.tell(HOME)
    [told] = bench.mail(peer_addresses(keys[500]).offer_listener)
    assert told == msgspec.structs.replace(HOME, spread_s=1000 / OFFERS_PER_S)  # what this has them offer is spread too
    bench.tags()
    bench.tell(OutsideEvent(kind="network_changed"))
    assert len([tag for tag in bench.tags() if tag == "OutsideEvent"]) == 2 * TOLD_AT_ONCE  # watcher and guard
    bench.advance(TURN_S)
    assert bench.tags() == ["OutsideEvent"] * 2 * TOLD_AT_ONCE
    bench.advance(1000 / OFFERS_PER_S)
    events = [send.message for send in bench.outbox if isinstance(send.message, OutsideEvent)]
    assert len(events) == 2 * (1000 - 2 * TOLD_AT_ONCE)
    assert {event.spread_s for event in events} == {TOLD_AT_ONCE / OFFERS_PER_S}
    assert TellEventsDue not in bench.timers


def test_a_restarted_packet_process_is_configured_before_anybody_uses_it() -> None:
    bench = running(ALICE, BOB)
    bench.tell(RESTARTED)
    told = [(send.to, type(send.message)) for send in bench.outbox]
    a, b = peer_addresses(ALICE), peer_addresses(BOB)
    assert told[:2] == [(TUNNELS, ConfigurePeer)] * 2
    expected: list[Address[Any]] = [
        a.ice_worker,
        a.conn,
        a.wg_watcher,
        b.ice_worker,
        b.conn,
        b.wg_watcher,
        RELAYS,
        a.relay_worker,
        b.relay_worker,
    ]
    assert [to for to, _ in told[2:]] == expected


def test_it_has_nothing_that_a_starting_peer_could_resume() -> None:
    bench = Bench(Peers((CONTROL_0,), rng=Random(1), packet_incarnation=8))
    tunnel = TunnelSnapshot(peer=ALICE, path=RelayedPath(link=4, generation=70))
    bench.tell(configured(ALICE), TunnelsSnapshot(tunnels=(tunnel,)), RESTARTED)
    [start] = [mail for mail in bench.mail(CONTROL) if isinstance(mail, StartPeer)]
    assert start.resumed is None


def test_mail_that_went_missing_has_everybody_begin_from_what_is_held() -> None:
    bench = running(ALICE, BOB)
    bench.tell(ProcessRestarted(process=PACKET, incarnation=8))
    assert bench.mail(peer_addresses(ALICE).conn) == []  # its tunnel goes on
    bench.tell(*NOTHING)
    assert starts(bench) == [ALICE, BOB]


# --- configuration again ---


def test_tunnels_of_peers_that_were_taken_out_while_control_was_away_are_removed() -> None:
    bench = Bench(Peers((CONTROL_0,), rng=Random(1)))
    bench.tell(configured(ALICE))
    bench.mail(TUNNELS)
    bench.tell(TunnelsSnapshot(tunnels=(TunnelSnapshot(peer=ALICE, path=None), TunnelSnapshot(peer=BOB, path=None))))
    assert bench.mail(TUNNELS) == [RemovePeer(peer=BOB)]


def test_a_reload_touches_only_what_changed() -> None:
    bench = running(ALICE, BOB)
    changed = settings_of(BOB, "10.0.0.2/32")
    bench.tell(PeersConfigured(peers=(settings_of(ALICE), changed, settings_of(CAROL))), *NOTHING)
    assert starts(bench) == [BOB, CAROL]
    assert [mail.peer for mail in bench.mail(TUNNELS) if isinstance(mail, ConfigurePeer)] == [BOB, CAROL]
    bench.tell(configured(ALICE))
    assert bench.mail(CONTROL) == [StopPeer(peer=BOB), StopPeer(peer=CAROL)]
    assert [mail for mail in bench.mail(TUNNELS) if isinstance(mail, RemovePeer)] == [
        RemovePeer(peer=BOB),
        RemovePeer(peer=CAROL),
    ]
    assert bench.mail(STATUS) == [PeerForgotten(peer=BOB), PeerForgotten(peer=CAROL)]
    assert bench.mail(RELAYS)[-1] == KnownPeers(peers=frozenset({ALICE}))


def test_the_same_configuration_again_touches_nobody() -> None:
    bench = running(ALICE, BOB)
    bench.tell(configured(ALICE, BOB))
    assert order(bench, StartPeer, StopPeer, ConfigurePeer, RemovePeer) == []


# --- failing ---


def restart_wait(bench: Bench) -> float:
    """Let time pass until a peer is started; return how long it took."""
    since = bench.now
    while True:
        if bench.mail(TUNNELS):
            bench.tell(*NOTHING)
        if starts(bench):
            return bench.now - since
        bench.advance(0.01)


def test_a_failed_peer_is_started_again_with_growing_waits_and_fresh_snapshots() -> None:
    bench = running(ALICE, BOB)
    waits = []
    for _ in range(FAILURES):
        bench.tell(failed(ALICE))
        assert bench.mail(CONTROL) == []
        waits.append(restart_wait(bench))
    assert waits[0] <= 0.21
    assert waits[-1] >= 1.6
    assert isinstance(bench.state, Running)


def test_one_that_fails_again_and_again_is_parked_and_shown() -> None:
    bench = running(ALICE, BOB)
    for _ in range(FAILURES):
        bench.tell(failed(ALICE))
        restart_wait(bench)
    bench.tell(failed(ALICE))
    [status] = bench.mail(STATUS)
    assert isinstance(status, PeerStatus)
    assert status.state == "parked"
    assert "AssertionError" in status.reason
    assert PARK_S <= restart_wait(bench) < PARK_S + 1


def test_failures_far_apart_park_nobody() -> None:
    bench = running(ALICE)
    for _ in range(20):
        bench.tell(failed(ALICE))
        assert restart_wait(bench) < 2
        bench.advance(30)


def test_a_peers_that_is_made_anew_goes_on_with_what_it_knew() -> None:
    bench = Bench(Peers((CONTROL_0,), rng=Random(1), configured=configured(ALICE)))
    bench.tell(*NOTHING)
    assert starts(bench) == [ALICE]


STEPS = st.sampled_from(
    [
        "both",
        "alice",
        "fail",
        "fail unknown",
        "tunnels",
        "links",
        "agents",
        "packet",
        "gap",
        "control",
        "started",
        "home",
        "1 s",
        "400 s",
    ]
)


@settings(deadline=None)
@given(st.lists(STEPS))
def test_whatever_happens_every_configured_peer_is_started_in_the_end(steps: list[str]) -> None:
    bench, incarnation = Bench(Peers((CONTROL_0,), rng=Random(1), packet_incarnation=1)), 1
    for step in steps:
        match step:
            case "both":
                bench.tell(configured(ALICE, BOB))
            case "alice":
                bench.tell(configured(ALICE))
            case "fail":
                bench.tell(failed(ALICE))
            case "fail unknown":
                bench.tell(failed(CAROL))
            case "tunnels":
                bench.tell(NO_TUNNELS)
            case "links":
                bench.tell(NO_LINKS)
            case "agents":
                bench.tell(NO_AGENTS)
            case "packet" | "gap":
                incarnation += step == "packet"
                bench.tell(ProcessRestarted(process=PACKET, incarnation=incarnation))
            case "control":
                bench.tell(ProcessRestarted(process=CONTROL_0, incarnation=incarnation))
            case "started":
                bench.tell(PeerStarted(peer=ALICE))
            case "home":
                bench.tell(HOME)
            case "1 s":
                bench.advance(1.0)
            case "400 s":
                bench.advance(400.0)
        assert not isinstance(bench.state, Asking) or StartPeersDue in bench.timers
    bench.tell(configured(ALICE, BOB))
    bench.advance(PARK_S + 2 * SNAPSHOT_S)
    peers = bench.machine
    assert isinstance(peers, Peers)
    assert all(isinstance(entry.run, Started) for entry in peers._entries.values())
    assert isinstance(bench.state, Running)

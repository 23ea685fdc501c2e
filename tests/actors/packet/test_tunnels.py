import random

from actors.addresses import CONTROL_0, PEERS, peer_addresses
from actors.effects import Effect, Send
from actors.messages.packet import (
    ConfigurePeer,
    InitiateHandshake,
    KeepRecovery,
    ProbePath,
    RemovePeer,
    RenewHandshake,
    SetPath,
    TunnelsInbox,
    TunnelSnapshot,
    TunnelsSnapshot,
    TunnelsSnapshotWanted,
)
from actors.messages.recoveries import Kept
from actors.packet.tunnels import Carrying, Tunnels
from config.keys import PublicKey, Secret, encode_key
from tests.wg.network import LINK, MTU, Network, Node, between, relayed, timestamps
from wg.datagrams import Endpoint, UdpBatch
from wg.noise import LocalStatic
from wg.packet_path import PacketPath
from wg.paths import DirectPath
from wg.reports import EchoAnswered, HandshakeCompleted, LocalTraffic, PathHeard, PathSilent

CONTROLS = (CONTROL_0, "control-1")


def test_mail_makes_a_tunnel_and_what_is_known_of_its_path_goes_to_the_watcher() -> None:
    world = World()
    effects = world.bring_up()
    assert {(str(send.to), type(send.message)) for send in mail(effects)} == {
        (str(peer_addresses(world.bob.key, CONTROLS).wg_watcher), HandshakeCompleted),
        (str(peer_addresses(world.bob.key, CONTROLS).wg_watcher), PathHeard),
    }


def test_local_traffic_goes_to_the_guard() -> None:
    world = World()
    world.configure()
    effects = world.tunnels.receive_tun([world.packet()], world.net.now)
    assert effects == [peer_addresses(world.bob.key, CONTROLS).guard.send(LocalTraffic(peer=world.bob.key))]


def test_packets_pass_both_ways_over_udp_and_the_relay() -> None:
    world = World()
    world.bring_up()
    world.tunnels.receive_tun([world.packet()], world.net.now)
    assert world.deliver() == []
    world.tell(SetPath(peer=world.bob.key, path=relayed()))
    world.tunnels.receive_tun([world.packet()], world.net.now)
    world.deliver()
    assert world.bob.packets == [world.packet()] * 2
    world.bob.path.handle_tun([between(world.bob, world.ours)], world.net.now)
    (batch,) = world.bob.path.output().udp
    world.tunnels.receive_relayed(world.bob.key, LINK, 3, batch.datagrams, world.net.now)
    assert world.tunnels.output().packets == [between(world.bob, world.ours)]


def test_time_is_passed_on() -> None:
    world = World()
    world.bring_up()
    assert mail(world.tunnels.handle_timeout(world.net.now)) == []
    world.tunnels.receive_tun([world.packet()], world.net.now)
    due_at = world.tunnels.next_timeout()
    assert due_at is not None
    told = mail(world.tunnels.handle_timeout(max(due_at, world.net.now + 1.0)))
    assert [type(send.message) for send in told] == [PathSilent]


def test_a_probe_is_answered() -> None:
    world = World()
    world.bring_up()
    world.tell(ProbePath(peer=world.bob.key, path="direct", token=42))
    assert [send.message.token for send in mail(world.deliver()) if isinstance(send.message, EchoAnswered)] == [42]


def test_a_handshake_is_initiated_when_asked_for() -> None:
    world = World()
    world.bring_up()
    world.net.now += 6.0
    world.tell(InitiateHandshake(peer=world.bob.key))
    assert HandshakeCompleted in {type(send.message) for send in mail(world.deliver())}


def test_a_handshake_is_renewed_at_once_when_asked_for() -> None:
    world = World()
    world.bring_up()
    world.net.now += 1.0  # less than REKEY_TIMEOUT, which it does not wait for
    world.tell(RenewHandshake(peer=world.bob.key))
    assert HandshakeCompleted in {type(send.message) for send in mail(world.deliver())}
    world.tunnels.receive_tun([world.packet()], world.net.now)
    world.deliver()
    assert world.bob.packets[-1] == world.packet()
    (status,) = world.tunnels.status({}).tunnels
    assert status.rtt_at == world.net.now


def test_peers_is_told_what_the_tunnels_hold() -> None:
    world = World()
    world.bring_up()
    (send,) = mail(world.tell(TunnelsSnapshotWanted()))
    assert send.to == PEERS
    at = world.net.now
    path = DirectPath(ip="192.0.2.2", port=51820)
    snapshot = TunnelSnapshot(peer=world.bob.key, path=path, heard_direct_at=at, handshake_at=at)
    assert send.message == TunnelsSnapshot(tunnels=(snapshot,))


def test_what_a_peers_recovery_has_cost_is_kept_as_long_as_the_peer() -> None:  # recovery R10
    world, kept = World(), Kept(spent_at=(990.0,), disruptions=3)
    keep = KeepRecovery(peer=world.bob.key, kept=kept)

    def told() -> list[Kept | None]:
        (send,) = mail(world.tell(TunnelsSnapshotWanted()))
        assert isinstance(send.message, TunnelsSnapshot)
        return [tunnel.kept for tunnel in send.message.tunnels]

    world.tell(keep)  # it is not configured yet
    world.configure()
    assert told() == [None]
    world.tell(keep)
    assert told() == [kept]
    world.tell(RemovePeer(peer=world.bob.key))
    world.configure()
    assert told() == [None]


def test_status_names_paths_as_the_operator_knows_them() -> None:
    world = World()
    world.configure()
    assert path_text(world, {}) == ""
    world.tell(SetPath(peer=world.bob.key, path=DirectPath(ip="2001:db8::1", port=7)))
    assert path_text(world, {}) == "direct [2001:db8::1]:7"
    world.tell(SetPath(peer=world.bob.key, path=relayed()))
    assert path_text(world, {LINK: "rels://relay.example:443"}) == "relayed rels://relay.example:443"
    assert path_text(world, {}) == f"relayed link {LINK}"


def test_status_counts_what_was_dropped() -> None:
    world = World()
    world.bring_up()
    world.tunnels.receive_udp([UdpBatch(Endpoint("198.51.100.1", 9), None, 0, [b"who?"])], world.net.now)
    status = world.tunnels.status({})
    assert status.drops == {"no_wireguard": 1}
    assert (status.tunnels[0].rx_bytes, status.tunnels[0].drops) == (0, {})


def test_settings_that_cannot_be_used_leave_the_other_peers_alone() -> None:
    world = World()
    world.bring_up()
    weak = PublicKey(encode_key(bytes(32)))  # no secret can be agreed upon with it
    assert world.tell(ConfigurePeer(peer=weak, allowed_ips=("10.0.0.0/8",), persistent_keepalive_s=0)) == []
    assert world.tell(ConfigurePeer(peer=world.bob.key, allowed_ips=("10/8/",), persistent_keepalive_s=0)) == []
    assert world.tunnels.status({}).drops == {"peer_refused": 2}
    assert world.tunnels.state == Carrying(peers=1)


def test_a_removed_peer_is_gone() -> None:
    world = World()
    world.bring_up()
    world.tell(RemovePeer(peer=world.bob.key))
    assert world.tunnels.state == Carrying(peers=0)
    assert world.tunnels.status({}).tunnels == ()


def test_a_preshared_key_is_used() -> None:
    world = World()
    world.bob.knows(world.ours, preshared_key=b"k" * 32)
    world.configure(Secret(b"k" * 32))
    world.tell(SetPath(peer=world.bob.key, path=world.bob.direct, handshake_after_s=0.0))
    assert HandshakeCompleted in {type(send.message) for send in mail(world.deliver())}


class World:
    """The machine under test, and Bob, whom it can reach."""

    def __init__(self) -> None:
        self.net = Network()
        self.ours = self.net.node()  # for its addresses and keys; its own packet path is never used
        self.bob: Node = self.net.node()
        self.bob.knows(self.ours)
        self.bob.uses(self.ours, self.ours.direct)
        rng = random.Random(self.ours.number)
        private = rng.randbytes(32)
        assert LocalStatic(private).public == self.ours.raw_key
        path = PacketPath(private, mtu=MTU, timestamp=timestamps(), entropy=rng.randbytes, rng=rng)
        self.tunnels = Tunnels(path, CONTROLS)

    def tell(self, message: TunnelsInbox) -> list[Effect]:
        return self.tunnels.handle(message, self.net.now)

    def configure(self, preshared_key: Secret | None = None) -> None:
        networks = (f"{self.bob.inner}/32",)
        self.tell(
            ConfigurePeer(
                peer=self.bob.key, allowed_ips=networks, persistent_keepalive_s=0, preshared_key=preshared_key
            )
        )

    def bring_up(self) -> list[Effect]:
        """Make a session with Bob; return what that made."""
        self.configure()
        effects = self.tell(SetPath(peer=self.bob.key, path=self.bob.direct, handshake_after_s=0.0))
        return effects + self.deliver()

    def deliver(self) -> list[Effect]:
        """Carry everything between the two until nothing moves; return what was asked for meanwhile."""
        effects: list[Effect] = []
        moved = True
        while moved:
            output = self.tunnels.output()
            for batch in output.udp:
                self.bob.path.handle_udp([batch._replace(endpoint=self.ours.endpoint)], self.net.now)
            for relayed_batch in output.relayed:
                self.bob.path.handle_relayed(self.ours.key, LINK, 1, relayed_batch.payloads, self.net.now)
            answers = self.bob.path.output()
            self.bob.packets += answers.packets
            for batch in answers.udp:
                effects += self.tunnels.receive_udp([batch._replace(endpoint=self.bob.endpoint)], self.net.now)
            moved = bool(output.udp or output.relayed or answers.udp)
        return effects

    def packet(self) -> bytes:
        return between(self.ours, self.bob)


def mail(effects: list[Effect]) -> list[Send]:
    assert all(isinstance(effect, Send) for effect in effects)
    return [effect for effect in effects if isinstance(effect, Send)]


def path_text(world: World, links: dict[int, str]) -> str:
    (tunnel,) = world.tunnels.status(links).tunnels
    return tunnel.path

"""One QUIC connection in virtual time: our lane against the library itself, losses, keys, and bytes from anywhere."""

from collections.abc import Callable
from random import Random

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicReceiveContext
from aioquic.quic.events import DatagramFrameReceived, PingAcknowledged
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transport.drivers import certificates
from tests.transport.drivers.certificates import Files
from transport.drivers import quic_connection
from transport.drivers.quic_connection import MAX_WAITING_LEN, RelayQuic
from transport.drivers.quic_frames import messages_of
from transport.drivers.quic_settings import FLOOR_LEN, SMALL_LEN, configuration
from transport.relay.codec import TRANSPORT_HEAD, encode
from transport.relay.frames import PeersOnline, PeersWentOffline, SubscribePeerState, peer_id
from wg.datagrams import Endpoint

CLIENT, SERVER = Endpoint("192.0.2.1", 1000), Endpoint("192.0.2.2", 443)
FULL_LEN = 1350
ALICE, BOB = peer_id("alice"), peer_id("bob")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificates.make(tmp_path_factory.mktemp("tls"))


class Pair:
    """Both ends of a connection and the path between, on one clock."""

    def __init__(self, tls: Files, *, stock: str = "", delay_s: float = 0.01) -> None:
        self.now, self.delay_s = 1000.0, delay_s
        self.lose: Callable[[bytes, bool], bool] = lambda _datagram, _up: False
        self.copies: Callable[[], list[float]] = lambda: [0.0]
        """How much later than the delay each copy of a datagram arrives."""
        self.client_at = CLIENT
        self.flight: list[tuple[float, int, bytes, Endpoint, bool]] = []
        self.passed: list[tuple[bytes, bool]] = []
        self.heard: dict[str, list[bytes]] = {"client": [], "server": []}
        self.events: list[object] = []
        client, server = client_settings(tls), server_settings(tls)
        self.client = QuicConnection(configuration=client) if stock == "client" else RelayQuic(client)
        self.client.connect(SERVER, self.now)
        first = sent_by(self.client, self.now)
        original = first[0][6:14]
        self.server = (
            QuicConnection(configuration=server, original_destination_connection_id=original)
            if stock == "server"
            else RelayQuic(server, original_destination_connection_id=original)
        )
        self._count = 0
        self._launch(first, up=True)
        self.run(0.5)
        for end in (self.client, self.server):
            if isinstance(end, RelayQuic):
                end.max_packet_len = 1400
            else:
                end._max_datagram_size = 1400

    def send(self, end: str, *messages: bytes) -> None:
        connection = self.client if end == "client" else self.server
        if isinstance(connection, RelayQuic):
            connection.send_messages(list(messages))
        else:
            for message in messages:
                connection.send_datagram_frame(message)
        self.flush()

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            times = [at for at, *_ in self.flight]
            times += [at for end in (self.client, self.server) if (at := timer_of(end)) is not None]
            self.now = max(self.now, min([until, *times]))
            if self.now >= until:
                return
            for end in (self.client, self.server):
                at = timer_of(end)
                if at is not None and at <= self.now:
                    end.handle_timer(self.now)
            due = sorted(entry for entry in self.flight if entry[0] <= self.now)
            self.flight = [entry for entry in self.flight if entry[0] > self.now]
            for _, _, datagram, source, up in due:
                give(self.server if up else self.client, datagram, source, self.now)
            self.flush()

    def flush(self) -> None:
        self._launch(sent_by(self.client, self.now), up=True)
        self._launch(sent_by(self.server, self.now), up=False)
        for name, end in (("client", self.client), ("server", self.server)):
            if isinstance(end, RelayQuic):
                self.heard[name] += end.inbox
                end.inbox = []
                self.events += end.events()
            else:
                while (event := end.next_event()) is not None:
                    if isinstance(event, DatagramFrameReceived):
                        self.heard[name].append(event.data)

    def _launch(self, datagrams: list[bytes], *, up: bool) -> None:
        for datagram in datagrams:
            self.passed.append((datagram, up))
            if not self.lose(datagram, up):
                source = self.client_at if up else SERVER
                for later_s in self.copies():
                    self._count += 1
                    self.flight.append((self.now + self.delay_s + later_s, self._count, datagram, source, up))


def sent_by(end: QuicConnection, now: float) -> list[bytes]:
    pairs = end.flush(now) if isinstance(end, RelayQuic) else end.datagrams_to_send(now)
    return [datagram for datagram, _ in pairs]


def give(end: QuicConnection, datagram: bytes, source: Endpoint, now: float) -> None:
    if isinstance(end, RelayQuic):
        end.take(datagram, source, now)
    else:
        end.receive_datagram(datagram, source, now)


def timer_of(end: QuicConnection) -> float | None:
    return end.get_timer() if end._network_paths else None


def client_settings(tls: Files) -> QuicConfiguration:
    config = configuration(client=True)
    config.cadata, config.server_name = tls.ca, "localhost"
    return config


def server_settings(tls: Files) -> QuicConfiguration:
    config = configuration(client=False)
    config.load_cert_chain(tls.certificate, tls.key)
    return config


def packet(number: int, length: int = FULL_LEN) -> bytes:
    return (TRANSPORT_HEAD + BOB + number.to_bytes(4)).ljust(length, b"x")


def ours(end: QuicConnection) -> RelayQuic:
    assert isinstance(end, RelayQuic)
    return end


# --- the lane and the library understand each other ---


@pytest.mark.parametrize("stock", ["", "client", "server"])
def test_messages_of_all_lengths_pass_in_order_both_ways_to_the_library_and_from_it(tls: Files, stock: str) -> None:
    pair = Pair(tls, stock=stock)
    messages = [bytes([number % 256]) * number for number in range(FULL_LEN + 1)]
    for at in range(0, len(messages), 50):
        pair.send("client", *messages[at : at + 50])
        pair.send("server", *messages[at : at + 50])
        pair.run(0.02)
    pair.run(1.0)
    assert pair.heard == {"client": messages, "server": messages}


def test_small_messages_share_packets_and_full_ones_do_not_wait(tls: Files) -> None:
    pair = Pair(tls)
    before = len(pair.passed)
    pair.send("client", *[packet(number, 60) for number in range(50)], packet(50))
    assert len(pair.passed) - before == 4
    pair.run(0.1)
    assert pair.heard["server"] == [*[packet(number, 60) for number in range(50)], packet(50)]


def test_acknowledgements_are_few(tls: Files) -> None:
    pair = Pair(tls)
    before = len(pair.passed)
    for number in range(0, 480, 48):
        pair.send("client", *[packet(number + extra) for extra in range(48)])
        pair.run(0.03)
    up = sum(way for _, way in pair.passed[before:])
    down = len(pair.passed) - before - up
    assert len(pair.heard["server"]) == 480
    assert down <= 480 / 8


def test_what_is_lost_is_lost_and_nothing_is_held_up_or_passed_twice(tls: Files) -> None:
    pair, draw = Pair(tls), Random(6)
    pair.lose = lambda _datagram, _up: draw.random() < 0.1
    for number in range(1000):
        pair.send("client", packet(number))
        pair.run(0.001)
    pair.run(1.0)
    heard = pair.heard["server"]
    assert len(set(heard)) == len(heard)
    assert heard == sorted(heard)
    assert 850 < len(heard) < 950
    assert ours(pair.client)._loss._cc.congestion_window >= FLOOR_LEN
    assert ours(pair.client).waiting_len == 0


def test_copies_and_reordering_do_no_harm(tls: Files) -> None:
    pair, draw = Pair(tls), Random(6)
    pair.copies = lambda: [0.02 * draw.random(), 0.02 * draw.random()]
    for number in range(200):
        pair.send("client", packet(number))
        pair.run(0.002)
    pair.run(1.0)
    assert sorted(pair.heard["server"]) == [packet(number) for number in range(200)]


@pytest.mark.parametrize("stock", ["", "client", "server"])
def test_keys_change_on_the_way_and_nothing_is_lost(tls: Files, stock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quic_connection, "KEY_PACKETS", 64)
    pair = Pair(tls, stock=stock)
    end = pair.client if stock == "server" else pair.server
    first = end._cryptos[quic_connection._ONE_RTT].recv.secret
    for number in range(400):
        pair.send("client", packet(number))
        pair.send("server", packet(number))
        pair.run(0.05)
    assert len(pair.heard["server"]) == len(pair.heard["client"]) == 400
    assert end._cryptos[quic_connection._ONE_RTT].recv.secret != first


def test_a_new_address_goes_on_at_once_and_the_old_one_hears_no_more(tls: Files) -> None:
    pair = Pair(tls)
    pair.send("client", packet(0))
    pair.run(0.1)
    pair.client_at = Endpoint("198.51.100.7", 7)
    pair.send("client", packet(1))
    pair.run(0.011)
    pair.send("server", packet(2, 100))
    assert ours(pair.server).get_peer_address() == pair.client_at
    pair.run(0.1)
    assert pair.heard == {"server": [packet(0), packet(1)], "client": [packet(2, 100)]}
    assert pair.server._network_paths[0].is_validated


# --- control frames ---


def test_a_lost_control_frame_is_repeated_and_a_lost_packet_is_not(tls: Files) -> None:
    pair = Pair(tls)
    pair.lose = lambda _datagram, up: up
    pair.send("client", encode(SubscribePeerState((ALICE, BOB))))
    pair.send("client", packet(1))
    pair.lose = lambda _datagram, _up: False
    pair.run(2.0)
    assert pair.heard["server"] == [encode(SubscribePeerState((ALICE, BOB)))]
    assert len(ours(pair.client)._resend) == 0


def test_a_lost_online_does_not_come_after_the_offline_that_followed_it(tls: Files) -> None:
    pair = Pair(tls)
    pair.lose = lambda _datagram, up: not up
    pair.send("server", encode(PeersOnline((ALICE, BOB))))
    pair.lose = lambda _datagram, _up: False
    pair.send("server", encode(PeersWentOffline((BOB,))))
    pair.run(2.0)
    assert pair.heard["client"] == [encode(PeersWentOffline((BOB,))), encode(PeersOnline((ALICE,)))]


# --- limits ---


def test_what_cannot_be_sent_is_counted_by_reason_and_never_queued(tls: Files) -> None:
    client = RelayQuic(client_settings(tls))
    client.send_messages([b"early"])
    assert client.drops == {"not_open": 1}
    pair = Pair(tls)
    end = ours(pair.client)
    longest = end.max_message_len
    end.send_messages([bytes(longest + 1), bytes(longest)])
    assert end.drops == {"too_long": 1}
    assert end.waiting_len == longest
    end.send_messages([bytes(longest)] * (MAX_WAITING_LEN // longest))
    assert end.drops == {"too_long": 1, "queue_full": 1}
    assert end.waiting_len <= MAX_WAITING_LEN
    end.finish()
    end.send_messages([b"late"])
    assert end.drops["not_open"] == 1


def test_the_congestion_window_holds_back_and_lets_go(tls: Files) -> None:
    pair = Pair(tls)
    messages = [packet(number) for number in range(300)]
    pair.send("client", *messages)
    assert 0 < ours(pair.client).waiting_len < 300 * FULL_LEN
    assert ours(pair.client)._loss.bytes_in_flight <= ours(pair.client)._loss.congestion_window
    pair.run(1.0)
    assert pair.heard["server"] == messages


def test_a_padded_probe_is_answered_where_it_passes_and_costs_no_window_where_it_does_not(tls: Files) -> None:
    pair, answers = Pair(tls), []
    end = ours(pair.client)
    in_flight = end._loss.bytes_in_flight
    for lost in (True, False):
        pair.lose = lambda datagram, _up, lost=lost: lost and len(datagram) > SMALL_LEN  # type: ignore[misc]
        probe = [datagram for datagram, _ in end.probe(1380, lambda: answers.append(pair.now), pair.now)]
        assert [len(datagram) for datagram in probe] == [1380]
        assert end._loss.bytes_in_flight == in_flight
        pair._launch(probe, up=True)
        pair.run(3.0)
        assert len(answers) == (not lost)


def test_large_packets_that_are_lost_in_a_row_are_counted_until_one_arrives(tls: Files) -> None:
    pair = Pair(tls)
    pair.lose = lambda datagram, _up: len(datagram) > SMALL_LEN
    for number in range(20):
        pair.send("client", packet(number), packet(number, 100))
        pair.run(0.05)
    assert ours(pair.client).large_lost >= 15
    pair.lose = lambda _datagram, _up: False
    pair.send("client", packet(99))
    pair.run(0.2)
    assert ours(pair.client).large_lost == 0


def test_an_idle_connection_ends_after_the_shorter_of_both_times_and_a_ping_keeps_it(tls: Files) -> None:
    pair = Pair(tls)
    for _ in range(5):
        pair.run(20.0)
        ours(pair.client).ping(7)
        pair.flush()
    pair.run(1.0)
    assert pair.events.count(PingAcknowledged(uid=7)) == 5
    assert ours(pair.client).end is None
    pair.run(31.0)
    for end in (pair.client, pair.server):
        reason = ours(end).end
        assert reason is not None
        assert reason.reason_phrase == "Idle timeout"


# --- bytes from anywhere ---


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_changed_bytes_are_dropped_without_harm(tls: Files, data: st.DataObject) -> None:
    pair = _kept(tls)
    server = ours(pair.server)
    ours(pair.client).send_messages([packet(1, 100)])
    (good,) = sent_by(pair.client, pair.now)[:1]
    at = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[at] ^= data.draw(st.integers(1, 255))
    server.take(bytes(changed), CLIENT, pair.now)
    server.take(data.draw(st.binary(max_size=100)), CLIENT, pair.now)
    server.take(good[:1] + data.draw(st.binary(max_size=60)), CLIENT, pair.now)
    server.take(good[:9] + data.draw(st.binary(max_size=60)), CLIENT, pair.now)
    assert server.inbox == []
    assert server.end is None
    assert server.drops == {}
    server.take(good, CLIENT, pair.now)
    assert server.inbox == [packet(1, 100)]
    server.inbox = []


def test_what_the_library_does_not_foresee_when_it_sends_ends_one_connection_and_raises_nothing(
    tls: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(tls)
    server = ours(pair.server)

    def stumbles(*_: object) -> None:
        raise KeyError("of a packet that came before")

    monkeypatch.setattr(QuicConnection, "datagrams_to_send", stumbles)
    server.ping(1)
    assert server.flush(pair.now) == []
    assert server.end is not None
    assert server.drops == {"library_fault": 1}
    monkeypatch.setattr(QuicConnection, "handle_timer", stumbles)
    server.handle_timer(pair.now)
    assert server.drops == {"library_fault": 2}


@settings(max_examples=150, deadline=None)
@given(
    payload=st.one_of(
        st.binary(max_size=80), st.lists(st.binary(max_size=70)).map(lambda ms: b"".join(map(framed, ms)))
    )
)
def test_any_payload_of_a_client_is_read_as_the_library_reads_it(tls: Files, payload: bytes) -> None:
    server = ours(_kept(tls).server)
    lane = messages_of(payload)
    if lane is None:
        return
    server.inbox = []
    context = QuicReceiveContext(quic_connection._ONE_RTT, server.host_cid, server._network_paths[0], None, 0.0, None)
    server._payload_received(context, payload)
    server._sort_events()
    library, server.inbox = server.inbox, []
    assert lane == library


def framed(message: bytes) -> bytes:
    return b"\x31" + (bytes([len(message)]) if len(message) < 64 else (0x4000 | len(message)).to_bytes(2)) + message


_PAIRS: dict[str, Pair] = {}


def _kept(tls: Files) -> Pair:
    """Return a pair that examples share: a handshake takes longer than they do."""
    key = str(tls.certificate)
    if key not in _PAIRS:
        _PAIRS[key] = Pair(tls)
    return _PAIRS[key]

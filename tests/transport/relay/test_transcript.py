"""The recording of the real server and clients, replayed against our ends, byte for byte."""

import pytest

from config.keys import Secret
from tests.transport.relay.vectors import transcript
from transport.relay.auth import key_of, make_token
from transport.relay.client import RelayClient
from transport.relay.codec import decode_from_client, encode
from transport.relay.events import LinkClosed, LoggedIn, PacketsReceived, PeerGone, PeerOnline, PingWanted
from transport.relay.frames import FromClient, PeerId, SubscribePeerState, Transport, UnsubscribePeerState, peer_id
from transport.relay.server import Connection, RelayServer

ALICE, BOB = peer_id("alice"), peer_id("bob")
KEY = key_of(Secret(b"verysecret"))
URL = "rel://127.0.0.1:18101"


def recorded_token(link: int) -> Secret:
    """Return the token that the recorded client logged in with, made anew by us."""
    lines = (line for line in transcript() if line["link"] == link and line.get("from") == "client")
    auth = bytes.fromhex(next(lines)["hex"])
    token = make_token(KEY, int(auth[75:]), ttl_s=0)
    assert token.value == auth[42:]
    return token


def test_our_server_answers_the_recorded_clients_as_the_real_one_did() -> None:
    expiry = int(bytes.fromhex(transcript()[1]["hex"])[75:])
    server = RelayServer(URL, KEY, unix_now=lambda: expiry - 3600)
    links: dict[int, Connection] = {}
    answered: list[tuple[int, str]] = []

    def take_what_is_sent() -> None:
        for connection, messages in server.data_to_send():
            link = next(number for number, known in links.items() if known is connection)
            answered.extend((link, message.hex()) for message in messages)

    for line in transcript():
        now = line["at_s"]
        while (at := server.next_timeout()) is not None and at <= now:
            server.handle_timeout(at)
            take_what_is_sent()
        match line:
            case {"event": "open", "link": link}:
                connection = server.accept(now)
                assert connection is not None
                links[link] = connection
            case {"event": "client closed", "link": link}:
                server.connection_lost(links[link], "reset")
            case {"from": "client", "link": link, "hex": text}:
                server.receive_data(links[link], bytes.fromhex(text), now)
        take_what_is_sent()
    assert answered == [(line["link"], line["hex"]) for line in transcript() if line.get("from") == "server"]


def test_alice_sends_what_the_real_client_sent() -> None:
    """With two frames more: ours asks again while bob does not come, and when told that he left (recovery R3)."""
    replayed, recorded = Replay(link=1, own=ALICE, remote=BOB, owner_closes=False).run()
    ask = encode(SubscribePeerState((BOB,)))
    asked_at, gone_at = recorded.index(ask) + 1, recorded.index(encode(UnsubscribePeerState((BOB,))))
    assert replayed == [*recorded[:asked_at], ask, *recorded[asked_at:gone_at], ask, *recorded[gone_at:]]


@pytest.mark.parametrize(("link", "owner_closes"), [(2, False), (3, True)])
def test_bob_sends_what_the_real_client_sent(link: int, owner_closes: bool) -> None:
    replayed, recorded = Replay(link=link, own=BOB, remote=ALICE, owner_closes=owner_closes).run()
    assert replayed == recorded


class Replay:
    """Our client in the place of a recorded one: it hears the server's lines; its owner does what the recorded did."""

    def __init__(self, link: int, own: PeerId, remote: PeerId, *, owner_closes: bool) -> None:
        self._lines = [line for line in transcript() if line["link"] == link]
        self._remote, self._owner_closes = remote, owner_closes
        self._client = RelayClient(own, recorded_token(link), self._lines[0]["at_s"])
        self._sent: list[bytes] = []

    def run(self) -> tuple[list[bytes], list[bytes]]:
        """Return what our client sent and what the recorded one did."""
        recorded = []
        for line in self._lines:
            now = line["at_s"]
            while (at := self._client.next_timeout()) is not None and at <= now:
                self._client.handle_timeout(at)
                self._work_off(at)
            match line:
                case {"from": "server", "hex": text}:
                    self._client.receive_data(bytes.fromhex(text), now)
                case {"from": "client", "hex": text}:
                    recorded.append(bytes.fromhex(text))
                    self._as_the_owner(decode_from_client(recorded[-1]), now)
                case {"event": "client closed"}:
                    self._client.connection_lost("reset")
            self._work_off(now)
        return self._sent, recorded

    def _as_the_owner(self, frame: FromClient, now: float) -> None:
        match frame:
            case Transport(peer, payload):
                self._client.send(peer, [payload], now)
            case UnsubscribePeerState((peer,)) if self._owner_closes:
                self._client.close_peer(peer)

    def _work_off(self, now: float) -> None:
        while (event := self._client.next_event()) is not None:
            match event:
                case LoggedIn(instance_url):
                    assert instance_url == URL
                    self._client.open(self._remote, 30.0, now)
                case PingWanted():
                    self._client.receive_pong(now)  # any WebSocket server answers pings; they are no messages
                case PeerOnline(peer) | PacketsReceived(peer) | PeerGone(peer):
                    assert peer == self._remote
                case LinkClosed(reason):
                    assert reason == "reset"
        self._sent.extend(self._client.data_to_send())

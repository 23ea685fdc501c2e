"""RELAY_LINKS and its dialer on real sockets: QUIC and WebSocket to one server on the loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from actors.addresses import CONTROL_0
from actors.effects import Effect, Send
from actors.messages.packet import CloseLink, LinkClosed, LinkOpened, OpenLink, OpenOnLink, RelayedOpened
from actors.packet.relay_links import RelayLinks
from actors.runtime.relay_dialer import RelayDialer
from config.keys import PublicKey, Secret, encode_key
from config.schema import RelayCredentials
from tests.transport.drivers import certificates
from tests.transport.drivers.relays import SECRET, Hub, hub, run
from transport.drivers.certificates import Trust
from transport.drivers.quic_link import dial_quic
from transport.drivers.quic_server import QuicListener
from transport.drivers.quic_socket import QuicSocket
from transport.drivers.relay_server import boot_time
from transport.drivers.self_made import self_made
from transport.drivers.websocket import dial
from transport.relay import probe
from transport.relay.choice import Mode, Transports
from transport.relay.race import Transport
from wg.datagrams import RelayedBatch

ALICE, BOB = (PublicKey(encode_key(bytes([number]) * 32)) for number in (1, 2))
UNIX_NOW = 1_800_000_000.0
FULL_LEN = 1350

pytestmark = pytest.mark.process


class Agent:
    """The packet process's side of relay links; what it would mail and hand to the tunnels is kept."""

    def __init__(self, key: PublicKey, mode: Mode, trust: Trust, secret: Secret = SECRET) -> None:
        transports = Transports(mode, trusted=trust != Trust())
        credentials = RelayCredentials(secret=secret)
        self.links = RelayLinks(key, credentials, (CONTROL_0,), lambda: UNIX_NOW, transports)
        self.links.known_peers([ALICE, BOB])
        self.mail: list[object] = []
        self.packets: list[bytes] = []
        self._news = asyncio.Event()
        self.dialer = RelayDialer(
            asyncio.get_running_loop(),
            self.links,
            diallers={
                "ws": partial(dial, ca=trust.ca),
                "quic": partial(dial_quic, trust=trust, message_len=FULL_LEN),
            },
            deliver=self._deliver,
            receive=self._receive,
            clock=boot_time,
        )

    def tell(self, message: OpenLink | CloseLink | OpenOnLink) -> None:
        self.dialer.settle(self.links.handle(message, boot_time()))

    async def hears(self, kind: type) -> list[object]:
        """Wait for mail of this kind; return all of it."""
        return await self._until(lambda: [one for one in self.mail if isinstance(one, kind)])

    async def has_packets(self, number: int) -> list[bytes]:
        return await self._until(lambda: self.packets if len(self.packets) >= number else [])

    async def _until(self, found: Callable[[], list]) -> list:  # type: ignore[type-arg]
        async with asyncio.timeout(20):
            while not found():
                self._news.clear()
                await self._news.wait()
        return found()

    def _deliver(self, effects: list[Effect]) -> None:
        self.mail += [effect.message for effect in effects if isinstance(effect, Send)]
        self._news.set()

    def _receive(self, _peer: PublicKey, _link: int, _generation: int, payloads: list[bytes]) -> None:
        self.packets += payloads
        self._news.set()


@asynccontextmanager
async def serving(directory: Path, *, quic: bool = True) -> AsyncIterator[tuple[Hub, Trust]]:
    """A server in clear, with QUIC and a certificate of its own beside."""
    made = self_made(directory, ["localhost"])
    async with hub() as one:
        listener = QuicListener(one.service, made.certificate, made.key)
        if quic:
            await listener.listen("127.0.0.1", one.port)
        try:
            yield one, Trust(fingerprints=(made.fingerprint,))
        finally:
            listener.close()
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("mode", "transport"), [("ws", "ws"), ("quic", "quic")])
def test_two_agents_meet_over_either_and_full_packets_pass(mode: Mode, transport: Transport, tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as (one, trust):
            alice, bob = Agent(ALICE, mode, trust), Agent(BOB, mode, trust)
            for agent in (alice, bob):
                agent.tell(OpenLink(link=1, url=one.url))
                (opened,) = await agent.hears(LinkOpened)
                assert opened == LinkOpened(
                    link=1,
                    instance_url="rel://instance",
                    server_ip="127.0.0.1",
                    transport=transport,
                )
            assert (one.service.peers("ws"), one.service.peers("quic")) == ((2, 0) if mode == "ws" else (0, 2))
            alice.tell(OpenOnLink(peer=BOB, generation=1, link=1))
            await alice.hears(RelayedOpened)
            packet = bytes(range(256)) * 5 + bytes(32)
            assert len(packet) + 38 == FULL_LEN
            alice.dialer.send(RelayedBatch(peer=BOB, link=1, payloads=[packet]), boot_time())
            assert await bob.has_packets(1) == [packet]
            for agent in (alice, bob):
                agent.tell(CloseLink(link=1))
                (closed,) = await agent.hears(LinkClosed)
                assert closed == LinkClosed(link=1, reason="closed by us", was_open=True)

    run(story)


def test_auto_uses_websocket_where_quic_is_not_served_and_tells_why(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path, quic=False) as (one, trust):
            agent = Agent(ALICE, "auto", trust)
            agent.tell(OpenLink(link=1, url=one.url))
            (opened,) = await agent.hears(LinkOpened)
            assert isinstance(opened, LinkOpened)
            assert opened.transport == "ws"
            assert opened.quic_fault

    run(story)


def test_a_certificate_that_is_another_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as (one, _trust):
            agent = Agent(ALICE, "quic", Trust(fingerprints=(bytes(32),)))
            agent.tell(OpenLink(link=1, url=one.url))
            (closed,) = await agent.hears(LinkClosed)
            assert isinstance(closed, LinkClosed)
            assert closed.reason.startswith("the server's certificate has the fingerprint ")

    run(story)


def test_a_login_that_the_server_refuses_is_refused_on_both(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as (one, trust):
            agent = Agent(ALICE, "auto", trust, Secret(b"guess"))
            agent.tell(OpenLink(link=1, url=one.url))
            (closed,) = await agent.hears(LinkClosed)
            assert isinstance(closed, LinkClosed)
            assert closed.reason.startswith("closed during login, so the relay refused our secret or token")
            assert "guess" not in closed.reason

    run(story)


def test_over_tls_one_ca_vouches_for_both(tmp_path: Path) -> None:
    async def story() -> None:
        tls = certificates.make(tmp_path)
        async with hub(tls) as one:
            listener = QuicListener(one.service, tls.certificate, tls.key)
            await listener.listen("127.0.0.1", one.port)
            for mode in ("ws", "quic"):
                agent = Agent(ALICE, mode, Trust(ca=tls.ca))
                agent.tell(OpenLink(link=1, url=one.url))
                (opened,) = await agent.hears(LinkOpened)
                assert isinstance(opened, LinkOpened)
                assert opened.transport == mode
                agent.dialer.close()
            listener.close()

    run(story)


@pytest.mark.parametrize("mode", ["ws", "quic"])
def test_a_server_that_stops_says_so_over_either(mode: Mode, tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as (one, trust):
            agent = Agent(ALICE, mode, trust)
            agent.tell(OpenLink(link=1, url=one.url))
            await agent.hears(LinkOpened)
            await one.service.drain()
            (closed,) = await agent.hears(LinkClosed)
            assert closed == LinkClosed(link=1, reason="the relay server said Close", was_open=True)

    run(story)


def test_a_quic_server_that_was_killed_is_given_up_when_its_port_is_said_to_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for silence in ("IN_USE_SILENCE_S", "IDLE_SILENCE_S"):  # without the hint it would last
        monkeypatch.setattr(probe, silence, 600.0)

    async def story() -> None:
        async with serving(tmp_path) as (one, trust):
            agent = Agent(ALICE, "quic", trust)
            agent.tell(OpenLink(link=1, url=one.url))
            await agent.hears(LinkOpened)
            for socket in one.service._sockets.values():
                assert isinstance(socket, QuicSocket)
                socket.udp.close()  # its process says no word
            agent.dialer.send(RelayedBatch(peer=BOB, link=1, payloads=[b"hello?"]), boot_time())
            (closed,) = await agent.hears(LinkClosed)
            assert isinstance(closed, LinkClosed)
            assert closed.reason.startswith("half-open: nothing heard for ")

    run(story)

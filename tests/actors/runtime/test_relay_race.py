"""The race between two dials, with drivers that do what the test says."""

import asyncio
import time
from collections.abc import Callable, Coroutine

import pytest

from actors.packet.relay_link import Dial
from actors.runtime.relay_race import Dialler, RelayLink, Winner, dial_first
from transport.drivers.websocket import DialFailed, LinkOwner
from transport.relay.race import Transport, Won
from transport.relay.urls import InvalidRelayUrl

URL, IP = "rels://relay.example:443", "192.0.2.1"
BOTH: tuple[Transport, ...] = ("quic", "ws")


class FakeLink:
    """A link that only notes what it is asked."""

    too_narrow = False

    def __init__(self, owner: LinkOwner) -> None:
        self.owner = owner
        self.server_ip: str | None = IP
        self.aborted = False

    def send(self, messages: list[bytes]) -> None:
        raise AssertionError(messages)

    def ping(self) -> None:
        raise AssertionError

    def signs(self) -> None:
        raise AssertionError

    def abort(self) -> None:
        self.aborted = True

    def end(self, reason: str) -> None:
        self.server_ip = None
        self.owner.lost(reason)


class FakeDriver:
    """Dials when it is let, and as it is let."""

    def __init__(self) -> None:
        self.result: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.asked = asyncio.Event()
        self.link: FakeLink | None = None
        self.cancelled = False

    async def dial(self, url: str, server_ip: str | None, owner: LinkOwner) -> RelayLink:
        assert (url, server_ip) == (URL, IP)
        self.asked.set()
        try:
            error = await self.result
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if error is not None:
            raise error
        self.link = FakeLink(owner)
        return self.link

    def succeeds(self) -> None:
        self.result.set_result(None)

    def fails(self, error: Exception) -> None:
        self.result.set_result(error)


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def received(self, messages: list[bytes]) -> None:
        self.told.append(messages)

    def pong(self) -> None:
        self.told.append("pong")

    def doubted(self) -> None:
        self.told.append("doubted")

    def writable(self, yes: bool) -> None:
        self.told.append(yes)

    def lost(self, reason: str) -> None:
        self.told.append(reason)


class Track:
    """A race that is on; its clock stands still unless one is given."""

    def __init__(self, *transports: Transport, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.quic, self.ws, self.owner = FakeDriver(), FakeDriver(), Owner()
        diallers: dict[Transport, Dialler] = {"quic": self.quic.dial, "ws": self.ws.dial}
        dial = Dial(1, URL, IP, transports or BOTH)
        self.race = asyncio.get_running_loop().create_task(dial_first(dial, diallers, self.owner, clock))

    async def begun(self) -> "Track":
        await asyncio.gather(self.quic.asked.wait(), self.ws.asked.wait())
        return self

    async def winner(self) -> Winner:
        async with asyncio.timeout(10):
            return await self.race


def on_a_loop(story: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 20))


def test_quic_wins_and_the_dial_by_websocket_is_given_up() -> None:
    async def story() -> None:
        track = await Track().begun()
        track.quic.succeeds()
        winner = await track.winner()
        assert (winner.link, winner.server_ip, winner.won) == (track.quic.link, IP, Won("quic"))
        await asyncio.sleep(0)
        assert track.ws.cancelled

    on_a_loop(story)


def test_a_websocket_that_was_ready_is_closed_when_quic_wins() -> None:
    async def story() -> None:
        track = await Track().begun()
        track.ws.succeeds()
        while track.ws.link is None:
            await asyncio.sleep(0)
        track.quic.succeeds()
        assert (await track.winner()).won == Won("quic")
        assert track.ws.link.aborted

    on_a_loop(story)


def test_websocket_takes_over_after_the_grace() -> None:
    async def story() -> None:
        track = await Track(clock=time.monotonic).begun()
        track.ws.succeeds()
        winner = await track.winner()
        assert winner.link is track.ws.link
        assert (winner.won.transport, winner.won.quic_late) == ("ws", True)
        await asyncio.sleep(0)
        assert track.quic.cancelled

    on_a_loop(story)


def test_the_owner_hears_of_the_winner_alone() -> None:
    async def story() -> None:
        track = await Track().begun()
        track.ws.succeeds()
        while track.ws.link is None:
            await asyncio.sleep(0)
        track.ws.link.end("reset")  # while it races
        track.quic.succeeds()
        await track.winner()
        assert track.owner.told == []
        assert track.quic.link is not None
        raced = track.quic.link.owner
        raced.received([b"x"])
        raced.pong()
        raced.doubted()
        raced.writable(False)
        track.quic.link.end("gone")
        assert track.owner.told == [[b"x"], "pong", "doubted", False, "gone"]

    on_a_loop(story)


def test_both_fail_in_one_line_without_the_url() -> None:
    async def story() -> None:
        track = await Track().begun()
        track.quic.fails(DialFailed(f"{URL} by QUIC: the server did not answer"))
        track.ws.fails(DialFailed(f"{URL}: connection refused"))
        with pytest.raises(DialFailed, match=r"^connection refused; over QUIC: the server did not answer$"):
            await track.winner()

    on_a_loop(story)


def test_a_url_that_is_none_is_a_failure() -> None:
    async def story() -> None:
        track = Track("ws")
        track.ws.fails(InvalidRelayUrl("no URL"))
        with pytest.raises(DialFailed, match=r"^no URL$"):
            await track.winner()

    on_a_loop(story)


def test_an_exception_in_one_driver_leaves_the_race_to_the_other() -> None:
    async def story() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        track = await Track().begun()
        track.quic.fails(ValueError("a bug"))
        track.ws.succeeds()
        assert (await track.winner()).won == Won("ws", "ValueError in the dialler")

    on_a_loop(story)


def test_a_race_that_is_given_up_leaves_nothing_behind() -> None:
    async def story() -> None:
        track = await Track().begun()
        track.ws.succeeds()
        while track.ws.link is None:
            await asyncio.sleep(0)
        track.race.cancel()
        with pytest.raises(asyncio.CancelledError):
            await track.winner()
        await asyncio.sleep(0)
        assert track.ws.link.aborted
        assert track.quic.cancelled
        assert track.owner.told == []

    on_a_loop(story)


def test_a_link_that_ends_as_it_wins_is_a_failure() -> None:
    async def story() -> None:
        track = Track("quic")
        await track.quic.asked.wait()
        track.quic.succeeds()
        while track.quic.link is None:
            await asyncio.sleep(0)
        track.quic.link.end("closed at once")
        with pytest.raises(DialFailed, match="closed"):
            await track.winner()
        assert track.owner.told == []

    on_a_loop(story)

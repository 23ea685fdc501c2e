"""What a message costs: handled, encoded, through ZeroMQ, checked, decoded, recorded; in a process and between two.

python -m tests.bench.mail [--seconds N] [--rounds N]

Every message is an offer of some 400 bytes, passed round by six actors.  Costs are compared in CPU time of the post
office's thread, in rounds that alternate, so that neighbours on the machine fall on all alike.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors.effects import Address, Effect
from actors.runtime.post_office import PostOffice
from actors.runtime.ring import RING_LEN
from actors.trace.record import ring_name, tap_name
from config.keys import PublicKey, Secret
from transport.drivers.zmq import ipc
from transport.signal.messages import Description, HomingFields, IceCredentials, OfferReceived

PEER = PublicKey("Ym9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm8=")
ROLES = ("conn", "guard", "offer_listener", "relay_worker", "ice_worker", "wg_watcher")
IN_FLIGHT = 600  # messages going round, a hundred for each actor
WINDOW = 8_192  # messages under way between two processes
CREDIT = 1_024  # messages that one acknowledgement is for


class PlainIce(msgspec.Struct, frozen=True, kw_only=True):
    """IceCredentials, were the password no secret."""

    ufrag: str
    pwd: str


class PlainDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A Description that cannot hold a secret."""

    ice: PlainIce | None
    session: bytes | None
    listen_port: int
    version: str
    relay_url: str | None
    relay_ip: str | None
    homing: HomingFields | None


class PlainOffer(msgspec.Struct, frozen=True, kw_only=True, tag="plain_offer"):
    """An offer in every field, of types that cannot hold a secret."""

    peer: PublicKey
    description: PlainDescription
    nonce: bytes


class Credit(msgspec.Struct, frozen=True, kw_only=True, tag="credit"):
    """So many more may be sent."""


Offer = PlainOffer | OfferReceived
HOMING = HomingFields(
    offer_id=7, cause=1 << 61, relay_generation=3, relay_urls=("rels://a.example:443", "rels://b.example:443")
)
PLAIN = PlainOffer(
    peer=PEER,
    description=PlainDescription(
        ice=PlainIce(ufrag="a1b2c3d4e5f6g7h8", pwd="x" * 32),
        session=b"12345",
        listen_port=51820,
        version="0.1.0",
        relay_url="rels://relay.example.net:443",
        relay_ip="192.0.2.7",
        homing=HOMING,
    ),
    nonce=bytes(24),
)
REAL = OfferReceived(
    peer=PEER,
    description=Description(
        ice=IceCredentials(ufrag="a1b2c3d4e5f6g7h8", pwd=Secret(b"x" * 32)),
        session=b"12345",
        listen_port=51820,
        version="0.1.0",
        relay_url="rels://relay.example.net:443",
        relay_ip="192.0.2.7",
        homing=HOMING,
    ),
    nonce=bytes(24),
)


@dataclass(frozen=True, slots=True)
class Passing:
    """The only state."""


class Pass:
    """Passes every offer on."""

    inbox: ClassVar[Any] = PlainOffer

    def __init__(self, to: Address[Any]) -> None:
        self._to = to
        self.state = Passing()

    def handle(self, message: Offer, now: float) -> list[Effect]:
        """Pass it on."""
        return [self._to.send(message)]


class PassReal(Pass):
    """Passes real offers on, each with a password in it."""

    inbox: ClassVar[Any] = OfferReceived


class Flood:
    """Sends offers to another process, as many as its credits allow."""

    inbox: ClassVar[Any] = Credit

    def __init__(self, to: Address[Any]) -> None:
        self._to = to
        self.credits = 0
        self.state = Passing()

    def handle(self, message: Credit, now: float) -> list[Effect]:
        """Send what one more credit allows."""
        self.credits += 1
        return [self._to.send(PLAIN)] * CREDIT


class Drink:
    """Counts offers, and gives a credit for each CREDIT of them."""

    inbox: ClassVar[Any] = PlainOffer

    def __init__(self, to: Address[Any]) -> None:
        self._to, self._count = to, 0
        self.state = Passing()

    def handle(self, message: PlainOffer, now: float) -> list[Effect]:
        """Count it."""
        self._count += 1
        return [] if self._count % CREDIT else [self._to.send(Credit())]


FLOOD: Address[Any] = Address("flood", "control-0")
DRINK: Address[Any] = Address("drink", "packet")


class Round:
    """A ring of six actors in a post office of its own; `cost` runs it for a while."""

    def __init__(self, run_dir: Path, name: str, offer: Offer, *, ring: bool, tap: bool) -> None:
        self.name = name
        self.rates: list[float] = []  # messages a second
        self.costs: list[float] = []  # CPU seconds a message
        self._office = PostOffice(name, 1, run_dir, ring_len=RING_LEN if ring else 0)
        if not tap:
            self._office.tap.publisher.socket.unbind(ipc(run_dir / tap_name(name, 1)))
            self._office.tap.answerer.socket.unbind(ipc(run_dir / ring_name(name, 1)))
        addresses: list[Address[Any]] = [Address(f"peer/{PEER}/{role}", name) for role in ROLES]
        for here, there in zip(addresses, (*addresses[1:], addresses[0]), strict=True):
            self._office.add(here.actor, Pass(there) if isinstance(offer, PlainOffer) else PassReal(there))
        for number in range(IN_FLIGHT):
            self._office.post(addresses[number % len(addresses)], offer)

    def run(self, seconds: float) -> None:
        """Run for so long, and note what it cost."""
        before, started, cpu = self._office.delivered, time.perf_counter(), time.thread_time()
        end = started + seconds
        self._office.run(lambda: time.perf_counter() >= end)
        count = self._office.delivered - before
        self.rates.append(count / (time.perf_counter() - started))
        self.costs.append((time.thread_time() - cpu) / count)

    def close(self) -> None:
        """Check that nothing went wrong, and close."""
        status = self._office.status()
        assert (status.gaps, status.dead_letters, status.overflow) == (0, {}, {}), status
        self._office.close()


def measure(seconds: float = 0.4, rounds: int = 9) -> dict[str, Any]:
    """Return the figures of local mail, and of mail between two processes."""
    with tempfile.TemporaryDirectory(prefix="homing-mail-") as directory:
        run_dir = Path(directory)
        bare = Round(run_dir, "bare", PLAIN, ring=False, tap=False)
        tap = Round(run_dir, "tap", PLAIN, ring=False, tap=True)
        ring = Round(run_dir, "ring", PLAIN, ring=True, tap=True)
        secret = Round(run_dir, "secret", REAL, ring=True, tap=True)
        every = (bare, tap, ring, secret)
        for each in every:
            each.run(seconds / 2)  # warm
            each.rates.clear()
            each.costs.clear()
        for number in range(rounds):
            for each in every if number % 2 else every[::-1]:
                each.run(seconds)
        for each in every:
            each.close()
    return {
        "local_per_s": round(statistics.median(ring.rates)),
        "local_per_cpu_s": round(1 / statistics.median(ring.costs)),
        "tap_unwatched_percent": percent(tap, bare),
        "ring_percent": percent(ring, tap),
        "offer_with_secret_per_s": round(statistics.median(secret.rates)),
        "between_processes_per_s": round(between(seconds * rounds)),
        "body_bytes": len(msgspec.msgpack.encode(PLAIN)),
    }


def percent(one: Round, other: Round) -> float:
    """Return how much more CPU time the one costs, in percent: the median over rounds."""
    ratios = [mine / theirs for mine, theirs in zip(one.costs, other.costs, strict=True)]
    return round(100 * (statistics.median(ratios) - 1), 1)


def between(seconds: float) -> float:
    """Return the messages a second from this process to another."""
    with tempfile.TemporaryDirectory(prefix="homing-mail-") as directory, receiver(directory):
        office = PostOffice(FLOOD.process, 1, Path(directory))
        office.connect(DRINK.process, 1)
        flood = Flood(DRINK)
        office.add(FLOOD.actor, flood)
        for _ in range(WINDOW // CREDIT):
            office.post(FLOOD, Credit())
        office.run(lambda: flood.credits > 4 * WINDOW // CREDIT)  # it is there, and warm
        first, started = flood.credits, time.perf_counter()
        office.run(lambda: time.perf_counter() >= started + seconds)
        rate = (flood.credits - first) * CREDIT / (time.perf_counter() - started)
        assert office.status().gaps == 0
        office.close()
        return rate


@contextmanager
def receiver(directory: str) -> Iterator[None]:
    """Run the other process."""
    command = [sys.executable, "-m", "tests.bench.mail", "--receive", directory]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            yield
        finally:
            child.kill()


def receive(run_dir: Path) -> None:
    """Be the other process, until killed or left alone."""
    office = PostOffice(DRINK.process, 1, run_dir)
    office.connect(FLOOD.process, 1)
    office.add(DRINK.actor, Drink(FLOOD))
    left_alone: list[bytes] = []
    office.watch(sys.stdin.fileno(), lambda: left_alone.append(sys.stdin.buffer.read(1)))
    office.run(lambda: bool(left_alone))


def main() -> None:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--receive", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.receive is not None:
        receive(arguments.receive)
    else:
        print(json.dumps(measure(arguments.seconds, arguments.rounds)))


if __name__ == "__main__":
    main()

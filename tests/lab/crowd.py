"""Many clients of one relay server in one process, each with the real machines of its link (recovery S5).

python -m tests.lab.crowd URL SECRET N     (prints, for each line on standard input, since when each client is homed)
"""

import asyncio
import base64
import json
import os
import random
import resource
import sys
from functools import partial
from typing import Any

import msgspec

from actors.addresses import CONTROL_0, PEERS, RELAY_LINKS, RELAYS
from actors.effects import Address
from actors.messages.node import HomeRelayChanged, KnownPeers
from actors.node.relays import Relays
from actors.packet.relay_links import RelayLinks
from actors.runtime import clock
from actors.runtime.relay_dialer import RelayDialer
from config.keys import PublicKey, Secret
from config.schema import RelayCredentials
from tests.bench.light import Actors
from transport.drivers.websocket import dial

CONTROLS = (CONTROL_0,)
APART_S = 0.002  # from the start of one client to the next


class Client(Actors):
    """One client, which keeps its link and has no peers."""

    def __init__(self, url: str, secret: str) -> None:
        super().__init__()
        self.homed_at: float | None = None
        key = PublicKey(base64.b64encode(os.urandom(32)).decode())
        links = RelayLinks(key, RelayCredentials(secret=Secret(secret.encode())), CONTROLS, clock.unix_now)
        relays = Relays((url,), CONTROLS, rng=random.SystemRandom(), first_link=1, packet_incarnation=1)
        self.machines = {RELAY_LINKS: links, RELAYS: relays}
        self._dialer = RelayDialer(
            self.loop,
            links,
            diallers={"ws": partial(dial, ca=None)},
            deliver=self.perform,
            receive=lambda *_: None,
            clock=clock.now,
        )
        self.begin(RELAYS)
        self.post(RELAYS, KnownPeers(peers=frozenset()))

    def handle(self, to: Address[Any], message: msgspec.Struct) -> None:
        """Work on mail; PEERS would hear whether there is a home."""
        if to == PEERS and isinstance(message, HomeRelayChanged):
            self.homed_at = clock.now() if message.url is not None else None
        super().handle(to, message)

    def settled(self) -> None:
        """Send what the mail has made."""
        self._dialer.settle_soon()


async def run(url: str, secret: str, clients: int) -> None:
    """Run the clients until standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    made: list[Client] = []
    ended = asyncio.Event()

    def answer() -> None:
        if sys.stdin.readline():
            print(json.dumps([client.homed_at for client in made if client.homed_at is not None]), flush=True)
        else:
            ended.set()

    asyncio.get_running_loop().add_reader(0, answer)
    for _ in range(clients):
        made.append(Client(url, secret))
        await asyncio.sleep(APART_S)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))

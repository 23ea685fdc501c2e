"""A signal server that is none to rely on (recovery S13).

python -m tests.lab.meddler HOST:PORT [--calm] KEY_FILE ...

It delays, reorders, duplicates and replays; `--calm`: not by itself.  With the private keys of those it serves it knows
what they seal, and takes commands on standard input, each answered with one JSON line:

    hold        keep the next answer to each of them from its receiver
    held        the nonces of those that were kept so far, in hexadecimal, by their receivers' keys
    release     deliver them now
"""

import argparse
import asyncio
import base64
import json
import os
import random
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nacl.public import PrivateKey

from config.keys import Secret, encode_key
from transport.signal import rpc
from transport.signal.body import Answer, decode_body, decode_envelope
from transport.signal.sealing import NONCE_LEN, Sealer
from transport.signal.server import SignalServer

LATEST_S = 2.0  # a message is handed on so late at the most, each by itself: so they overtake each other
TWICE, REPLAYED = 0.3, 0.3  # shares of the messages that come once more, and that bring an old one with them
KEPT = 50  # old messages


class Meddler(SignalServer):
    """Passes on what it is sent, and more."""

    def __init__(self, rng: random.Random, keys: Sequence[bytes] = (), *, calm: bool = False) -> None:
        super().__init__()
        self._rng, self._calm = rng, calm
        self._old: deque[bytes] = deque(maxlen=KEPT)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._sealers = {encode_key(bytes(PrivateKey(key).public_key)): Sealer(Secret(key), os.urandom) for key in keys}
        self._wanted: set[str] = set()  # whose next answer is kept
        self._held: dict[str, tuple[bytes, rpc.ServerContext]] = {}

    def command(self, line: str) -> dict[str, str]:
        """Do what was asked; return the nonces of the answers that it is about, by their receivers' keys."""
        found = {receiver: decode_envelope(data).sealed[:NONCE_LEN].hex() for receiver, (data, _) in self._held.items()}
        if line == "hold":
            self._wanted = set(self._sealers)
        elif line == "release":
            for data, context in self._held.values():
                self._start(data, context)
            self._held.clear()
        return found

    async def _send(self, request: bytes, context: rpc.ServerContext) -> bytes:
        receiver = decode_envelope(request).receiver
        if receiver in self._wanted and self._is_answer(request):
            self._wanted.remove(receiver)
            self._held[receiver] = request, context
            return b""
        if self._calm:
            return await super()._send(request, context)
        copies = [request] * (2 if self._rng.random() < TWICE else 1)
        if self._old and self._rng.random() < REPLAYED:
            copies.append(self._rng.choice(self._old))
        self._old.append(request)
        for copy in copies:
            self._start(copy, context)
        return b""

    def _is_answer(self, request: bytes) -> bool:
        envelope = decode_envelope(request)
        body, _ = self._sealers[envelope.receiver].open(envelope.sealed, envelope.sender)
        return isinstance(decode_body(body), Answer)

    def _start(self, request: bytes, context: rpc.ServerContext) -> None:
        task = asyncio.create_task(self._pass_on(request, context))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _pass_on(self, request: bytes, context: rpc.ServerContext) -> None:
        await asyncio.sleep(0.0 if self._calm else self._rng.uniform(0.0, LATEST_S))
        await super()._send(request, context)


async def serve(address: str, keys: Sequence[bytes], *, calm: bool) -> None:
    """Serve until standard input ends."""
    meddler, ended = Meddler(random.Random(0), keys, calm=calm), asyncio.Event()

    def answer() -> None:
        line = sys.stdin.readline()
        if line:
            print(json.dumps(meddler.command(line.strip())), flush=True)
        else:
            ended.set()

    await meddler.start(address)
    asyncio.get_running_loop().add_reader(0, answer)
    await ended.wait()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.meddler")
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("key_files", nargs="*", metavar="KEY_FILE", type=Path)
    parser.add_argument("--calm", action="store_true")
    options = parser.parse_args()
    keys = [base64.b64decode(path.read_text()) for path in options.key_files]
    asyncio.run(serve(options.address, keys, calm=options.calm))


if __name__ == "__main__":
    main()

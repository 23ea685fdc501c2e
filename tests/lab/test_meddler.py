"""A signal server that holds answers back until it is told to deliver them."""

import asyncio
import os
import random
from typing import Any, cast

from nacl.public import PrivateKey

from config.keys import PublicKey, Secret, encode_key
from tests.lab.meddler import Meddler
from transport.signal.body import Answer, Envelope, Offer, encode_body, encode_envelope
from transport.signal.messages import Description
from transport.signal.sealing import Sealer

KEYS = {name: bytes([number]) * 32 for number, name in enumerate(("alice", "bob"), start=1)}
PUBLIC = {name: PublicKey(encode_key(bytes(PrivateKey(key).public_key))) for name, key in KEYS.items()}
SAID = Description(ice=None, session=None, listen_port=0, version="", relay_url=None, relay_ip=None, homing=None)


def sealed(sender: str, receiver: str, body: Offer | Answer) -> bytes:
    box = Sealer(Secret(KEYS[sender]), os.urandom).seal(encode_body(body), PUBLIC[receiver])
    return encode_envelope(Envelope(PUBLIC[sender], PUBLIC[receiver], box))


def test_the_next_answer_to_each_is_held_back_until_it_is_released() -> None:
    passed = "message_forward_failures_total.not_connected"  # nobody is registered: what is passed on is counted so

    async def story() -> None:
        meddler = Meddler(random.Random(0), list(KEYS.values()), calm=True)

        async def send(*request: Any) -> None:
            await meddler._send(sealed(*request), cast(Any, None))

        await send("bob", "alice", Answer(SAID))
        assert (meddler.command("hold"), meddler.counters[passed]) == ({}, 1)
        await send("alice", "bob", Offer(SAID))
        assert meddler.counters[passed] == 2
        await send("bob", "alice", Answer(SAID))
        await send("bob", "alice", Answer(SAID))
        assert meddler.counters[passed] == 3
        assert list(meddler.command("held")) == [PUBLIC["alice"]]
        assert list(meddler.command("release")) == [PUBLIC["alice"]]
        await asyncio.sleep(0)
        while meddler.counters[passed] < 4:
            await asyncio.sleep(0)
        assert meddler.command("held") == {}

    asyncio.run(asyncio.wait_for(story(), 5.0))

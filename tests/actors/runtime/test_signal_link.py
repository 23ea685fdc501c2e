"""The signal client's thread against a real server, with an outlet that takes down what it is given."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from msgspec import structs

from actors.addresses import SIGNAL
from actors.effects import Address
from actors.runtime.bridge import MAX_WAITING
from actors.runtime.signal_link import SignalThread, caused_by
from config.keys import PublicKey, Secret
from tests.transport.signal.ends import PATIENCE_S, serving
from tests.transport.signal.vectors import public_key_of
from transport.signal.messages import (
    CandidateReceived,
    Description,
    HomingFields,
    PostCandidate,
    PostDescription,
    SignalConnected,
    SignalDisconnected,
)

pytestmark = pytest.mark.process


class Outlet:
    """Takes down the mail of one thread; refuses the first `refusals` messages."""

    def __init__(self, refusals: int = 0) -> None:
        self.mail: list[msgspec.Struct] = []
        self.threads: set[int] = set()
        self._refusals = refusals

    def send(self, to: Address[Any], message: msgspec.Struct) -> bool:
        assert to == SIGNAL
        self.threads.add(threading.get_ident())
        if self._refusals > 0:
            self._refusals -= 1
            return False
        self.mail.append(message)
        return True

    def has(self, kind: type[msgspec.Struct]) -> bool:
        return any(isinstance(message, kind) for message in self.mail)


@pytest.fixture
def url() -> Iterator[str]:
    """Give the URL of a server on a thread of its own."""
    loop, stop, ports = asyncio.new_event_loop(), asyncio.Event(), list[int]()

    async def serve() -> None:
        async with serving() as (_, port):
            ports.append(port)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    until(lambda: bool(ports))
    yield f"http://127.0.0.1:{ports[0]}"
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def test_facts_come_by_the_outlet_and_posts_go_out(url: str) -> None:
    (alice, alice_out), (bob, bob_out) = (make(number, url) for number in (1, 2))
    for thread in (alice, bob):
        thread.start()
    until(lambda: alice_out.has(SignalConnected) and bob_out.has(SignalConnected))
    alice.post(PostCandidate(peer=key_of(2), candidate="c"))
    until(lambda: bob_out.has(CandidateReceived))
    for thread in (alice, bob):
        thread.stop()
    assert alice_out.mail == [SignalConnected(url=url)]
    assert len(alice_out.threads) == 1
    assert threading.get_ident() not in alice_out.threads
    assert not any(thread.name == "signal" for thread in threading.enumerate())


def test_the_state_is_told_again_when_it_was_refused_or_asked_for(url: str) -> None:
    alice, outlet = make(1, url, refusals=1)
    alice.start()
    until(lambda: outlet.mail == [SignalConnected(url=url)])
    alice.repeat()
    until(lambda: outlet.mail == 2 * [SignalConnected(url=url)])
    alice.stop()


def test_a_doubt_is_handed_to_the_client_on_its_thread(url: str) -> None:
    alice, outlet = make(1, url)
    alice.start()
    until(lambda: outlet.has(SignalConnected))
    alice.doubt()
    until(lambda: alice.counters.get("probes") == 1)
    alice.stop()


def test_a_client_that_fails_is_started_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, outlet = make(1, url)
    run, calls = alice._client.run, list[int]()

    async def fail_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a bug")
        await run()

    monkeypatch.setattr(alice._client, "run", fail_once)
    alice.start()
    until(lambda: outlet.has(SignalConnected))
    alice.stop()
    assert outlet.mail[0] == SignalDisconnected(url=url, reason="the signal client failed: RuntimeError", retry_s=1.0)


def test_what_is_handed_over_is_bounded_while_the_thread_does_not_get_to_it() -> None:
    alice, _ = make(1, "http://127.0.0.1:9")  # not started
    for _ in range(MAX_WAITING + 3):
        alice.post(PostCandidate(peer=key_of(2), candidate="c"))
    assert alice.counters == {"not_handed_over": 3}
    alice.know(frozenset())  # what must not be lost is taken all the same
    assert alice.counters == {"not_handed_over": 3}


def test_an_offer_takes_the_id_of_its_mail_along() -> None:
    homing = HomingFields(offer_id=7, relay_generation=3)
    foreign = Description(ice=None, session=None, listen_port=0, version="", relay_url=None, relay_ip=None, homing=None)
    post = PostDescription(peer=key_of(2), kind="offer", description=structs.replace(foreign, homing=homing))
    told = structs.replace(foreign, homing=structs.replace(homing, cause=41))
    assert caused_by(post, 41) == structs.replace(post, description=told)
    to_foreign = structs.replace(post, description=foreign)
    assert caused_by(to_foreign, 41) is to_foreign
    candidate = PostCandidate(peer=key_of(2), candidate="c")
    assert caused_by(candidate, 41) is candidate


def make(number: int, url: str, refusals: int = 0) -> tuple[SignalThread, Outlet]:
    key, outlet = Secret(bytes([number]) * 32), Outlet(refusals)
    return SignalThread(url, public_key_of(key), key, None, outlet), outlet


def key_of(number: int) -> PublicKey:
    return public_key_of(Secret(bytes([number]) * 32))


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)

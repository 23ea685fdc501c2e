"""TCP of relay links sends again what was lost, sooner than it would by itself."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final

import pytest

from tests.transport.drivers.relays import Party, hub, run
from tests.transport.drivers.test_tcp_signs import PATIENCE_S, lose_all
from transport.drivers.tcp_repeats import OPTIONS, TCP_RTO_MIN_US, TCP_THIN_LINEAR_TIMEOUTS, repeat_soon
from transport.drivers.tcp_signs import tcp_signs
from transport.relay.frames import peer_id

pytestmark = pytest.mark.process

ENOUGH: Final = 3  # repetitions

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[tuple[Pair, Pair]]:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def pair() -> Pair:
            near = stack.enter_context(socket.create_connection(listener.getsockname()))
            return near, stack.enter_context(listener.accept()[0])

        yield pair(), pair()


def told(connection: Any) -> dict[int, int]:
    """Return what a connection was told of those options that this kernel has."""
    found = {}
    for option, _ in OPTIONS:
        with suppress(OSError):
            found[option] = connection.getsockopt(socket.IPPROTO_TCP, option)
    return found


def repeated(connection: socket.socket) -> int:
    signs = tcp_signs(connection)
    assert signs is not None
    return signs.troubled


def test_what_is_lost_is_repeated_more_often_than_by_tcp_alone(pairs: tuple[Pair, Pair]) -> None:
    (plain, plain_far), (ours, our_far) = pairs
    repeat_soon(ours)
    for near, far in ((plain, plain_far), (ours, our_far)):
        lose_all(far)
        near.sendall(b"hello")
    give_up_at = time.monotonic() + PATIENCE_S
    while repeated(ours) < ENOUGH:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    # A stream that never lost anything counts as no thin one: an older kernel repeats as it always did.
    assert (repeated(plain) < repeated(ours)) == (TCP_RTO_MIN_US in told(ours))


def test_both_ends_of_a_link_ask_for_it() -> None:
    async def story() -> None:
        async with hub() as relay:
            alice = await Party(peer_id("alice")).login(relay.url)
            there: list[Any] = list(relay.service._sockets.values())
            ends = [alice.link._socket, *(each._ws.underlying_transport.get_extra_info("socket") for each in there)]
            with socket.socket() as fresh:
                before = told(fresh)
            assert {TCP_THIN_LINEAR_TIMEOUTS, socket.TCP_USER_TIMEOUT} <= before.keys()
            assert len(ends) == 2
            for end in ends:
                assert [option for option, value in told(end).items() if value == before[option]] == []

    run(story)


class Old:
    """A connection of a kernel that knows none of these options."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def setsockopt(self, _level: int, option: int, _value: int) -> None:
        self.asked.append(option)
        raise OSError


def test_an_older_kernel_is_asked_for_each_and_may_refuse() -> None:
    old = Old()
    repeat_soon(old)
    assert old.asked == [option for option, _ in OPTIONS]

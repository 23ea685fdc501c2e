"""UDP datagrams in trains on real sockets."""

import asyncio
import errno
import os
import socket

import pytest

from tests.transport.drivers.quic import becomes
from tests.transport.drivers.relays import run
from transport.drivers.quic_udp import BACKLOG_LEN, MAX_TRAIN, QuicUdp, Train, open_quic_socket
from wg.datagrams import Endpoint

pytestmark = pytest.mark.process


class Two:
    """Two sockets of a family, and what came in."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.heard: list[Train] = []
        self.one = QuicUdp(open_quic_socket(family, host, 0), lambda _udp, trains: None)
        self.two = QuicUdp(open_quic_socket(family, host, 0), lambda _udp, trains: self.heard.extend(trains))
        self.there = Endpoint(host, self.two.port)

    def __enter__(self) -> "Two":
        return self

    def __exit__(self, *_: object) -> None:
        self.one.close()
        self.two.close()

    @property
    def datagrams(self) -> list[bytes]:
        return [datagram for train in self.heard for datagram in train.datagrams]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_of_all_lengths_arrive_one_by_one_and_in_order(host: str) -> None:
    async def story() -> None:
        with Two(host) as two:
            lengths = [1380] * 60 + [100] + [1380] * 3 + [1, 2, 1, 1472, 1200, 1200, 5] + [9000, 9000]
            sent = [bytes([number % 256]) * length for number, length in enumerate(lengths)]
            two.one.send(Train(two.there, None, sent))
            await becomes(lambda: len(two.datagrams) == len(sent))
            assert two.datagrams == sent
            assert len(two.heard) < len(sent) / 2
            assert {(train.endpoint.ip, train.endpoint.port) for train in two.heard} == {(host, two.one.port)}
            assert {train.local for train in two.heard} == {
                socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
            }
            assert not two.one.drops

    run(story)


class Scripted:
    """A socket whose `sendmsg` says what it is told to say, then works."""

    def __init__(self, real: socket.socket, *says: int) -> None:
        self.real, self.says, self.calls = real, list(says), list[int]()

    def sendmsg(self, parts: list[bytes], *rest: object) -> int:
        self.calls.append(len(parts))
        if self.says and (code := self.says.pop(0)):
            raise OSError(code, os.strerror(code))
        return self.real.sendmsg(parts, *rest)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def fileno(self) -> int:
        return self.real.fileno()


@pytest.mark.parametrize(("code", "for_good"), [(errno.EIO, True), (errno.EINVAL, False)])
def test_a_device_that_takes_no_trains_gets_datagrams(code: int, for_good: bool) -> None:
    async def story() -> None:
        with Two() as two:
            scripted = Scripted(two.one._socket, code)
            two.one._socket = scripted  # type: ignore[assignment]
            for _ in range(2):
                two.one.send(Train(two.there, None, [b"same"] * 5))
            await becomes(lambda: len(two.datagrams) == 10)
            assert scripted.calls == [5, *[1] * 5, *([1] * 5 if for_good else [5])]
            assert not two.one.drops

    run(story)


def test_a_full_socket_keeps_a_bounded_backlog_in_order() -> None:
    async def story() -> None:
        with Two() as two:
            scripted = Scripted(two.one._socket, 0, errno.EAGAIN)
            two.one._socket = scripted  # type: ignore[assignment]
            trains = BACKLOG_LEN + 3
            two.one.send(Train(two.there, None, [b"first"]))
            for number in range(trains):
                two.one.send(Train(two.there, None, [number.to_bytes(2)]))
            assert two.one.drops == {"backlog_full": trains - BACKLOG_LEN}
            await becomes(lambda: len(two.datagrams) == 1 + BACKLOG_LEN)
            assert two.datagrams == [b"first", *(number.to_bytes(2) for number in range(BACKLOG_LEN))]

    run(story)


def test_a_socket_that_fills_within_a_train_sends_the_rest_later() -> None:
    async def story() -> None:
        with Two() as two:
            scripted = Scripted(two.one._socket, 0, errno.EAGAIN)
            two.one._socket = scripted  # type: ignore[assignment]
            sent = [number.to_bytes(2) for number in range(2 * MAX_TRAIN)]
            two.one.send(Train(two.there, None, sent))
            two.one.send(Train(two.there, None, [b"behind"]))
            await becomes(lambda: len(two.datagrams) == len(sent) + 1)
            assert two.datagrams == [*sent, b"behind"]

    run(story)


def test_an_address_of_ours_that_is_gone_does_not_stop_the_answer() -> None:
    async def story() -> None:
        with Two() as two:
            two.one.close()
            two.one = QuicUdp(open_quic_socket(socket.AF_INET, "", 0), lambda _udp, trains: None)
            two.one.send(Train(two.there, socket.inet_aton("192.0.2.1"), [b"from wherever"]))
            await becomes(lambda: two.datagrams)
            assert two.datagrams == [b"from wherever"]
            assert not two.one.broken

    run(story)


def test_errors_of_the_network_are_counted_and_only_those_of_the_socket_call_for_a_new_one() -> None:
    async def story() -> None:
        with Two() as two:
            scripted = Scripted(two.one._socket, errno.ENETUNREACH, errno.EPERM, errno.EINVAL)
            two.one._socket = scripted  # type: ignore[assignment]
            for broken in (False, False, True):
                two.one.send(Train(two.there, None, [b"x"]))
                assert two.one.broken is broken
            assert two.one.drops == {"ENETUNREACH": 1, "EPERM": 1, "EINVAL": 1}
            two.one.close()
            two.one.send(Train(two.there, None, [b"after the end"]))
            await asyncio.sleep(0)

    run(story)

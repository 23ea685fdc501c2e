"""UDP sockets that change hands while the packet process runs."""

import socket
from collections.abc import Iterator

import pytest

from actors.runtime import handover
from actors.runtime.handover import UdpSockets


@pytest.fixture
def sockets() -> Iterator[UdpSockets]:
    made = UdpSockets(0)
    yield made
    made.close()


def test_other_sockets_come_with_their_port(sockets: UdpSockets) -> None:
    before = sockets.port
    channel = sockets.channel()
    assert sockets.rebind(elsewhere=True)
    found = handover.receive(channel)
    assert found is not None
    port, received = found
    assert port == sockets.port != before
    assert [each.getsockname()[1] for each in received] == [port] * len(sockets.fds)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", before))  # nobody holds it any more
    for each in received:
        each.close()
    channel.close()


def test_a_configured_port_is_gone_back_to() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("", 0))
        configured: int = free.getsockname()[1]
    sockets = UdpSockets(configured)
    ports = [sockets.port]
    for elsewhere in (True, True, False):
        assert sockets.rebind(elsewhere=elsewhere)
        ports.append(sockets.port)
    assert not sockets.rebind(elsewhere=False), "it is there"
    assert sockets.rebinds == 3
    sockets.close()
    assert (ports[0], ports[3]) == (configured, configured)
    assert len({configured, *ports[1:3]}) == 3


def test_whoever_is_started_after_it_begins_with_the_newest(sockets: UdpSockets) -> None:
    sockets.channel().close()  # the packet process has ended
    assert sockets.rebind(elsewhere=True)
    with socket.socket(fileno=sockets.fds[0]) as newest:
        assert newest.getsockname()[1] == sockets.port
        newest.detach()


def test_the_end_of_the_supervisor_is_nothing_to_take(sockets: UdpSockets) -> None:
    channel = sockets.channel()
    sockets.close()
    assert handover.receive(channel) is None
    channel.close()

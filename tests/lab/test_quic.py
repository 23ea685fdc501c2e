"""Relay links over QUIC between real agents in namespaces: NATs change, the path shrinks."""

import pytest

from actors.demo.pair import RELAY_PORT
from actors.demo.traffic import boot_time
from tests.lab.faults import Drop
from tests.lab.quic import Change, QuicPair

CHANGES: tuple[Change, ...] = ("address", "port", "both")
LARGE_UDP = "meta l4proto udp meta length > 1300"


def up(pair: QuicPair) -> None:
    pair.start_servers()
    pair.start_flows()
    # The first dial is QUIC's alone, so that a busy machine does not decide the race (transport/relay/race.py).
    websocket = Drop(pair.hub, f"tcp dport {RELAY_PORT}")
    pair.start_agents()
    pair.first_reply_at()
    websocket.mend()


@pytest.mark.netns
def test_the_tunnel_passes_full_packets_over_quic_and_outlives_new_addresses_and_ports_of_the_nats() -> None:
    with QuicPair() as pair:
        up(pair)
        pair.wait_carried(["quic", "quic"])
        pair.alice.host.exec(
            "ping", "-q", "-c", "3", "-i", "0.05", "-W", "5", "-M", "do", "-s", "1252", pair.bob.address
        )
        for what in CHANGES:
            ends = [pair.bob] if what == "address" else [pair.alice]
            before = [pair.source(end) for end in ends]
            at = pair.change(what)
            pair.wait_recovered(at)
            assert all(before)
            assert before != [pair.source(end) for end in ends]  # the fault was real
            assert pair.reopened(at) == []
        assert pair.stop_agents() == [0, 0]


@pytest.mark.netns
def test_a_path_that_shrinks_leaves_the_link_to_websocket_and_status_says_why() -> None:
    with QuicPair("auto") as pair:
        up(pair)
        pair.wait_carried(["quic", "quic"])
        fault_at = boot_time()
        Drop(pair.hub, LARGE_UDP)
        # Lost until the link is another; what is in use notices, what is idle looks every 15 s.
        pings = ("ping", "-q", "-c", "200", "-i", "0.01", "-W", "1", "-s", "1252", pair.bob.address)
        pair.alice.host.spawn(*pings)
        pair.wait_carried(["ws", "ws"])
        pair.wait_recovered(fault_at)
        pair.alice.host.exec("ping", "-q", "-c", "3", "-i", "0.05", "-W", "5", "-s", "1252", pair.bob.address)
        for end in pair.ends:
            (told,) = [link for link in pair.status(end)["links"] if link["role"] == "home"]
            assert told["quic_fault"]
            assert "connected over WebSocket" in pair.status_text(end)

"""Ours against the real wireguard-go, in both roles, between two namespaces."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.wg.interop.net import Host, Keys, Ours, Pair, Theirs, new_preshared_key, peer_of, run, wait_until
from tests.wg.interop.node import Handshake, MoveTo, PeerSetup, Probe
from wg.paths import DirectPath

pytestmark = [pytest.mark.interop, pytest.mark.netns]

MOVED_PORT = 40404


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair() as pair:
        yield pair


def test_we_initiate(pair: Pair) -> None:
    theirs = Theirs(pair.b, peer_of(pair.a))
    ours = Ours(pair.a, peer_of(pair.b, endpoint=pair.b.endpoint))
    assert pair.a.ping(pair.b.inner)
    assert pair.b.ping(pair.a.inner6)
    assert pair.a.ping(pair.b.inner, size=1392)  # the whole MTU: nothing is padded beyond it
    assert ours.wait_for("handshake_completed")["role"] == "initiator"
    assert theirs.dump()["handshake"] != "0"
    assert ours.drops().get("forged", 0) == 0


def test_they_initiate(pair: Pair) -> None:
    ours = Ours(pair.a, peer_of(pair.b))
    Theirs(pair.b, peer_of(pair.a, endpoint=pair.a.endpoint))
    assert pair.b.ping(pair.a.inner)
    assert pair.a.ping(pair.b.inner6)
    assert ours.wait_for("handshake_completed")["role"] == "responder"


def test_ipv6_outside(pair: Pair) -> None:
    Theirs(pair.b, peer_of(pair.a))
    ours = Ours(pair.a, peer_of(pair.b, endpoint=DirectPath(ip=pair.b.outer6, port=51820)))
    assert pair.a.ping(pair.b.inner)
    assert pair.b.ping(pair.a.inner6)
    assert ours.status().peers[0].path.ip == pair.b.outer6


@pytest.mark.parametrize("we_initiate", [True, False])
def test_a_preshared_key(pair: Pair, we_initiate: bool) -> None:
    key = new_preshared_key()
    Theirs(pair.b, peer_of(pair.a, preshared_key=key, endpoint=None if we_initiate else pair.a.endpoint))
    Ours(pair.a, peer_of(pair.b, preshared_key=key, endpoint=pair.b.endpoint if we_initiate else None))
    first, second = (pair.a, pair.b) if we_initiate else (pair.b, pair.a)
    assert first.ping(second.inner)


def test_a_wrong_preshared_key_makes_no_tunnel(pair: Pair) -> None:
    Theirs(pair.b, peer_of(pair.a, preshared_key=new_preshared_key()))
    ours = Ours(pair.a, peer_of(pair.b, preshared_key=new_preshared_key(), endpoint=pair.b.endpoint))
    ours.tell(Handshake(peer=pair.b.keys.public))
    wait_until(lambda: ours.drops().get("response_refused") == 1)
    assert ours.status().peers[0].handshake_at is None


def test_a_key_that_nobody_configured_makes_no_tunnel(pair: Pair) -> None:
    ours = Ours(pair.a, PeerSetup(peer=Keys().public, allowed_ips=pair.b.inner_networks))
    Theirs(pair.b, peer_of(pair.a, endpoint=pair.a.endpoint))
    pair.b.start("ping", "-q", "-c", "1", pair.a.inner, stdout=subprocess.DEVNULL)
    wait_until(lambda: ours.drops().get("unknown_static_key", 0) >= 1)
    assert ours.status().peers[0].handshake_at is None


@pytest.mark.parametrize("we_send", [True, False])
def test_tcp_and_udp_pass(pair: Pair, we_send: bool) -> None:
    Theirs(pair.b, peer_of(pair.a))
    ours = Ours(pair.a, peer_of(pair.b, endpoint=pair.b.endpoint))
    assert pair.a.ping(pair.b.inner)
    sender, receiver = (pair.a, pair.b) if we_send else (pair.b, pair.a)
    assert transferred(sender, receiver, "--bytes", "8M") > 4 << 20  # iperf3 does not wait for the last of it
    assert transferred(sender, receiver, "--udp", "--bitrate", "20M", "--bytes", "1M", "--length", "1200") > 1 << 19
    assert not {"forged", "malformed", "source_not_allowed"} & ours.drops().keys()


def test_repeated_datagrams_are_dropped_and_the_tunnel_lives(pair: Pair) -> None:
    Theirs(pair.b, peer_of(pair.a))
    ours = Ours(pair.a, peer_of(pair.b, endpoint=pair.b.endpoint))
    assert pair.a.ping(pair.b.inner)
    inject(pair.b, pair.a, "replay", 5)
    wait_until(lambda: ours.drops().get("replayed") == 5)
    assert pair.a.ping(pair.b.inner)


def test_forged_datagrams_are_dropped_and_the_tunnel_lives(pair: Pair) -> None:
    Theirs(pair.b, peer_of(pair.a))
    ours = Ours(pair.a, peer_of(pair.b, endpoint=pair.b.endpoint))
    assert pair.a.ping(pair.b.inner)
    inject(pair.b, pair.a, "forge", 5)
    wait_until(lambda: ours.drops().get("forged") == 5)
    assert pair.a.ping(pair.b.inner)


def test_they_follow_when_we_roam(pair: Pair) -> None:
    theirs = Theirs(pair.b, peer_of(pair.a))
    ours = Ours(pair.a, peer_of(pair.b, endpoint=pair.b.endpoint))
    assert pair.a.ping(pair.b.inner)
    readdress(pair.a, "192.0.2.11")
    ours.tell(MoveTo(port=MOVED_PORT))
    assert pair.a.ping(pair.b.inner)
    assert pair.b.ping(pair.a.inner)
    assert theirs.dump()["endpoint"] == f"192.0.2.11:{MOVED_PORT}"


def test_we_follow_when_they_roam(pair: Pair) -> None:
    theirs = Theirs(pair.b, peer_of(pair.a))
    ours = Ours(pair.a, peer_of(pair.b, endpoint=pair.b.endpoint))
    assert pair.a.ping(pair.b.inner)
    readdress(pair.b, "192.0.2.12")
    theirs.set("listen-port", str(MOVED_PORT))
    assert pair.b.ping(pair.a.inner)
    assert pair.a.ping(pair.b.inner)
    assert ours.status().peers[0].path == DirectPath(ip="192.0.2.12", port=MOVED_PORT)


def test_we_answer_from_the_address_that_was_asked(pair: Pair) -> None:
    second = "192.0.2.21"
    run(*pair.a.inside("ip", "address", "add", f"{second}/24", "dev", "eth0"))
    Ours(pair.a, peer_of(pair.b))
    theirs = Theirs(pair.b, peer_of(pair.a, endpoint=DirectPath(ip=second, port=51820)))
    assert pair.b.ping(pair.a.inner)
    assert theirs.dump()["endpoint"] == f"{second}:51820"


def test_an_echo_does_them_no_harm(pair: Pair) -> None:
    theirs = Theirs(pair.b, peer_of(pair.a))
    ours = Ours(pair.a, peer_of(pair.b, endpoint=pair.b.endpoint))
    assert pair.a.ping(pair.b.inner)
    before = int(theirs.dump()["rx"])
    for token in range(20):
        ours.tell(Probe(peer=pair.b.keys.public, token=token))
    wait_until(lambda: int(theirs.dump()["rx"]) >= before + 20 * 48)
    assert pair.b.ping(pair.a.inner)
    ours.status()
    assert "echo_answered" not in {report["type"] for report in ours.reports}


def test_ours_among_themselves_answer_echoes(pair: Pair) -> None:
    Ours(pair.b, peer_of(pair.a))
    ours = Ours(pair.a, peer_of(pair.b, endpoint=pair.b.endpoint))
    assert pair.a.ping(pair.b.inner)
    ours.tell(Probe(peer=pair.b.keys.public, token=42))
    assert ours.wait_for("echo_answered")["token"] == 42


def test_a_story_that_fails_leaves_nothing_behind() -> None:
    pair = Pair()
    ends = (Theirs(pair.b, peer_of(pair.a)), Ours(pair.a, peer_of(pair.b)))
    with pytest.raises(AssertionError, match="on purpose"), pair:
        raise AssertionError("on purpose")
    assert [end.process.poll() is not None for end in ends] == [True, True]
    assert not {pair.a.namespace, pair.b.namespace} & set(run("ip", "netns", "list").split())
    assert not ends[0].socket_file.exists()


def transferred(sender: Host, receiver: Host, *options: str) -> int:
    """Return how many bytes iperf3 says arrived."""
    listener = receiver.start("iperf3", "--server", "--one-off", stdout=subprocess.DEVNULL)
    wait_until(lambda: ":5201" in run(*receiver.inside("ss", "-ltn")))
    end = json.loads(run(*sender.inside("iperf3", "--json", "--client", receiver.inner, *options)))["end"]
    listener.wait(timeout=10)
    if "sum_received" in end and end["sum_received"]["bytes"]:
        return int(end["sum_received"]["bytes"])
    return int(end["sum"]["bytes"] * (1 - end["sum"]["lost_percent"] / 100))


def inject(sender: Host, receiver: Host, what: str, count: int) -> None:
    """Have a third party repeat or forge what `sender` sends next."""
    arguments = [sys.executable, "-m", "tests.wg.interop.inject", "eth0", what, str(count)]
    injector = sender.start(*arguments, stdout=subprocess.PIPE)
    assert injector.stdout is not None
    assert injector.stdout.readline() == b"ready\n"
    assert sender.ping(receiver.inner, count=1)
    assert injector.wait(timeout=20) == 0


def readdress(host: Host, address: str) -> None:
    """Give the host another outer address in place of its first."""
    run(*host.inside("ip", "address", "add", f"{address}/24", "dev", "eth0"))
    run(*host.inside("ip", "address", "delete", f"{host.outer}/24", "dev", "eth0"))
    if address not in run(*host.inside("ip", "-4", "address", "show", "dev", "eth0")):  # it went with the first
        run(*host.inside("ip", "address", "add", f"{address}/24", "dev", "eth0"))

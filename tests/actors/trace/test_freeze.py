"""Machines as plain data, and back."""

from contextlib import suppress
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.addresses import CONTROL_0
from actors.messages.process import PeerSettings, StartPeer
from actors.peer.wiring import make_peer
from actors.trace.draws import Draws
from actors.trace.freeze import NotFrozen, Unfrozen, freeze, thaw
from config.keys import Secret
from tests.config.samples import BOB, CAROL


def entropy(length: int) -> bytes:
    return bytes(length)


def machines() -> dict[str, Any]:
    settings = PeerSettings(peer=BOB, name="bob", allowed_ips=())
    start = StartPeer(settings=settings, home_relay_url="rel://relay:1")
    made = make_peer(start, CAROL, (CONTROL_0,), rng=Draws(b"key", 3), entropy=entropy, first_generation=7, ice=True)
    return dict(made)


def placeholder(secret: bytes) -> bytes:
    return b"*" * len(secret)


def test_all_six_machines_are_made_again_as_they_stood() -> None:
    frozen = freeze(machines(), placeholder)
    packed = msgspec.msgpack.encode(frozen)
    again = thaw(msgspec.msgpack.decode(packed), entropy)
    assert len(again) == 6
    assert freeze(again, placeholder) == frozen
    watcher = again[f"peer/{BOB}/wg_watcher"]
    assert watcher._paths["direct"]._remote is watcher._remote


def test_no_secret_is_in_it() -> None:
    made = machines()
    worker = made[f"peer/{BOB}/ice_worker"]
    pwd = worker._ours.credentials.pwd.value
    assert pwd not in msgspec.msgpack.encode(freeze(made, placeholder))


def test_drawn_numbers_go_on_where_they_stood() -> None:
    rng = Draws(b"key")
    first = [rng.uniform(0.5, 2.0) for _ in range(100)]
    (again,) = thaw(freeze({"a": rng}, placeholder), entropy).values()
    assert all(0.5 <= number < 2.0 for number in first)
    assert len(set(first)) == 100
    assert [rng.random() for _ in range(3)] == [again.random() for _ in range(3)]
    assert isinstance(again, Random)


def test_what_no_machine_holds_is_refused() -> None:
    with pytest.raises(NotFrozen):
        freeze({"a": iter(())}, placeholder)


@pytest.mark.parametrize(
    "node",
    [
        ["object", "os:system", {}],
        ["object", "actors.peer.conn:PEERS", {}],
        ["struct", "subprocess:Popen", {}],
        ["class", "actors.peer.wiring:make_peer"],
        ["class", "actors.peer.guard:Random"],
        ["object", "actors.peer.__main__:x", {}],
        ["struct", "actors.messages.peer:RelayLost", {"nothing": 1}],
        ["spell"],
        ["tuple", [[0]]],
        ["list"],
        [],
        7,
    ],
)
def test_a_tape_makes_nothing_else(node: Any) -> None:
    with pytest.raises(Unfrozen):
        thaw({"nodes": [node], "roots": {"a": [0]}}, entropy)


plain = st.recursive(
    st.none() | st.integers() | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)


@given(st.lists(plain, max_size=5), st.integers(0, 9))
def test_any_data_is_a_state_or_none(nodes: list[Any], root: int) -> None:
    with suppress(Unfrozen):
        thaw({"nodes": nodes, "roots": {"a": [root]}}, entropy)


def test_a_secret_keeps_its_length() -> None:
    (again,) = thaw(freeze({"a": Secret(b"x" * 32)}, placeholder), entropy).values()
    assert again == Secret(b"*" * 32)

import base64
import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.pseudonyms import KINDS, PLAIN, Pseudonyms
from config.keys import decode_key
from tests.config.samples import BOB, CAROL

KEY = b"k" * 32


def known() -> Pseudonyms:
    found = Pseudonyms(KEY)
    found.learn({"node": "alice", "peers": [{"name": "bob", "public_key": BOB}, {"name": "carol", "peer": CAROL}]})
    found.learn({"url": "https://signal.example.com:443", "servers": ["stun.example.org:3478", "192.0.2.1:3478"]})
    return found


def test_one_thing_has_one_pseudonym_wherever_it_stands() -> None:
    names = known()
    assert names.text(f"peer/{BOB}/guard of bob ({BOB[:8]})") == f"peer/{names.text(BOB)}/guard of peer-1 (key00001)"
    assert names.text(f"carol {CAROL}").startswith("peer-2 key00002AAAA")
    assert names.text("rel://stun.example.org:80 alice") == "rel://host-2:80 node"
    assert names.text("no address for signal.example.com.") == "no address for host-1."


def test_the_pseudonym_of_a_key_is_read_as_a_key() -> None:
    assert len(decode_key(known().text(BOB))) == 32


def test_a_key_that_nobody_learnt_goes_too() -> None:
    stray = base64.b64encode(bytes(range(100, 132))).decode()
    out = known().text(f"oops {stray} and {bytes(range(32)).hex()}")
    assert stray not in out
    assert bytes(range(32)).hex() not in out
    assert re.fullmatch(r"oops key00003A+= and 0+1", out)


def test_times_ports_versions_and_interfaces_stay() -> None:
    text = "2026-05-01T12:00:01.123+02:00 INFO eth0 port=51820 12:00:01 mtu 1280 6.1.0-23-amd64 [1/2]"
    assert known().text(text) == text


def test_addresses_keep_their_kind_and_their_prefixes() -> None:
    names = known()
    first, second, other = (names.text(text) for text in ("10.77.0.1", "10.77.0.200", "192.168.1.9"))
    assert first != "10.77.0.1"
    assert ipaddress.ip_address(second) in ipaddress.ip_network(f"{first}/24", strict=False)
    assert ipaddress.ip_address(other) in ipaddress.ip_network("192.168.0.0/16")
    assert ipaddress.ip_address(first) in ipaddress.ip_network(names.text("10.77.0.0/24"))
    assert ipaddress.ip_address(names.text("8.8.4.4")).is_global
    for text in ("127.0.0.1", "0.0.0.0/0", "::1", "::", "224.0.0.1", "255.255.255.255"):
        assert names.text(text) == text


def test_addresses_in_every_writing() -> None:
    names = known()
    plain = names.text("fd77::1")
    assert plain != "fd77::1"
    assert names.text("[fd77::1]:51820") == f"[{plain}]:51820"
    assert names.text("fd77::1: no answer") == f"{plain}: no answer"
    assert names.text("FD77:0::1%eth0") == f"{plain}%eth0"
    assert names.text("::ffff:10.77.0.1") == str(ipaddress.ip_address(f"::ffff:{names.text('10.77.0.1')}"))
    mac = names.text("link/ether 52:54:00:12:34:56 brd")
    assert re.fullmatch(r"link/ether 02(:[0-9a-f]{2}){5} brd", mac)
    assert "52:54" not in mac


def test_names_stay_where_that_is_wanted_and_keys_do_not() -> None:
    names = Pseudonyms(KEY, keep_names=True)
    names.learn({"name": "bob", "public_key": BOB})
    assert names.text(f"bob {BOB[:8]}") == "bob key00001"


def test_a_name_that_is_a_word_of_ours_goes_where_it_is_a_name_and_stays_elsewhere() -> None:
    names = Pseudonyms(KEY, reserved=frozenset(("relay", "connected")))
    names.learn({"node": "connected", "peers": [{"name": "relay", "peer": BOB}]})
    names.learn({"url": "rel://relay:8080"})
    shown = names.of({"node": "connected", "peers": [{"name": "relay", "peer": BOB, "state": "connected"}]})
    assert shown == {"node": "node", "peers": [{"name": "peer-1", "peer": names.text(BOB), "state": "connected"}]}
    assert names.text("relay connected, peer=x name=relay, rename=relay") == (
        "relay connected, peer=x name=peer-1, rename=relay"
    )
    assert names.peers == {"peer-1": "relay"}


def test_names_that_begin_alike_are_told_apart() -> None:
    names = Pseudonyms(KEY)
    others = ("web", "web-2", "web.example", "we")
    keys = [base64.b64encode(bytes([number] * 32)).decode() for number in range(len(others))]
    names.learn([{"name": name, "peer": key} for name, key in zip(others, keys, strict=True)])
    assert names.text("web web-2 web.example we, web. web-2: web.example.") == (
        "peer-1 peer-2 peer-3 peer-4, peer-1. peer-2: peer-3."
    )
    assert names.text("website web-20 weaver") == "website web-20 weaver"


def test_who_is_who_can_be_told_to_the_operator() -> None:
    assert known().peers == {"peer-1": "bob", "peer-2": "carol"}


def test_messages_fields_are_replaced_by_type() -> None:
    names = known()
    body = {"peer": BOB, "session": b"12345", "pwd": [b"secret:3f2a9c01***"], "box": b"x" * 100, "port": 51820}
    found = names.of(body)
    assert (found["session"], found["pwd"], found["port"]) == (b"12345", [b"secret:3f2a9c01***"], 51820)
    assert found["box"].startswith(b"bytes:1:")
    assert names.of({"again": b"x" * 100})["again"] == found["box"]


ADDRESSES = st.ip_addresses()


@given(ADDRESSES, ADDRESSES)
def test_two_addresses_never_have_one_pseudonym(one: ipaddress.IPv4Address, other: ipaddress.IPv4Address) -> None:
    names = Pseudonyms(KEY)
    assert (names.address(one) == names.address(other)) == (one == other)


@given(ADDRESSES)
def test_an_address_stays_of_its_kind(address: ipaddress.IPv4Address) -> None:
    given_one = Pseudonyms(KEY).address(address)
    for network in (*KINDS, *PLAIN):
        assert (address in network) == (given_one in network)


@given(st.text(max_size=200))
def test_any_text_is_taken(text: str) -> None:
    known().text(text)


LEAVES = st.none() | st.text() | st.binary() | st.integers()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
def test_any_data_is_taken(value: object) -> None:
    names = Pseudonyms(KEY)
    names.learn(value)
    names.of(value)


def test_data_nested_without_end_is_cut() -> None:
    value: list[object] = []
    for _ in range(10_000):
        value = [value]
    names = known()
    names.learn(value)
    names.of(value)


@pytest.mark.parametrize("keep", [True, False])
def test_no_name_survives_unless_kept(keep: bool) -> None:
    names = Pseudonyms(KEY, keep_names=keep)
    names.learn({"name": "laptop-of-eve", "public_key": BOB})
    assert ("laptop-of-eve" in names.text("peer=laptop-of-eve: moved")) == keep

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wg.allowed_ips import CACHED_ADDRESSES, AllowedIps, InvalidPrefix, Prefix, parse_prefix


def test_the_longest_prefix_wins() -> None:
    allowed = routes(("0.0.0.0/0", "exit"), ("10.0.0.0/8", "office"), ("10.77.0.2/32", "bob"))
    assert peer_of(allowed, "192.0.2.1") == "exit"
    assert peer_of(allowed, "10.1.2.3") == "office"
    assert peer_of(allowed, "10.77.0.2") == "bob"


def test_the_families_are_apart() -> None:
    allowed = routes(("::/0", "six"))
    assert peer_of(allowed, "10.0.0.1") is None
    assert peer_of(allowed, "fd77::1") == "six"


def test_a_prefix_belongs_to_the_last_that_claimed_it() -> None:
    allowed = routes(("10.77.0.0/24", "alice"), ("10.77.0.0/24", "bob"))
    assert peer_of(allowed, "10.77.0.9") == "bob"


def test_replacing_forgets_the_prefixes_of_before() -> None:
    allowed = routes(("10.0.0.0/8", "alice"), ("fd00::/8", "alice"), ("10.77.0.0/24", "bob"))
    allowed.replace("alice", [parse_prefix("172.16.0.0/12")])
    assert peer_of(allowed, "10.1.1.1") is None
    assert peer_of(allowed, "fd00::1") is None
    assert peer_of(allowed, "172.16.5.5") == "alice"
    assert peer_of(allowed, "10.77.0.9") == "bob"


def test_an_answer_given_before_a_change_is_not_given_after_it() -> None:
    allowed = routes(("10.0.0.0/8", "alice"))
    assert peer_of(allowed, "10.77.0.2") == "alice"
    allowed.insert(parse_prefix("10.77.0.2/32"), "bob")
    assert peer_of(allowed, "10.77.0.2") == "bob"
    allowed.remove("bob")
    assert peer_of(allowed, "10.77.0.2") == "alice"


def test_the_answers_kept_are_bounded_and_stay_right() -> None:
    allowed = routes(("10.0.0.0/8", "alice"))
    for number in range(2 * CACHED_ADDRESSES):
        assert allowed.peer_of((0x0A000000 + number).to_bytes(4, "big")) == "alice"
    assert len(allowed._cache) <= CACHED_ADDRESSES


def test_what_is_no_prefix_is_refused_in_one_line() -> None:
    with pytest.raises(InvalidPrefix, match=r"^'10.77.0.0/33' is no prefix; one looks like 10.77.0.2/32 or fd77::/64$"):
        parse_prefix("10.77.0.0/33")


def networks() -> st.SearchStrategy[Prefix]:
    return st.one_of(
        st.tuples(st.ip_addresses(v=4), st.integers(0, 32)),
        st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
    ).map(lambda pair: parse_prefix(f"{pair[0]}/{pair[1]}"))


@given(st.dictionaries(networks(), st.integers(0, 5), max_size=12), st.lists(st.ip_addresses(), max_size=6))
def test_lookup_agrees_with_trying_every_prefix(owners: dict[Prefix, int], asked: list[object]) -> None:
    allowed: AllowedIps[int] = AllowedIps()
    for prefix, owner in owners.items():
        allowed.insert(prefix, owner)
    inside = [prefix.network_address for prefix in owners]
    for address in [*(ip_address(str(each)) for each in asked), *inside]:
        matching = [prefix for prefix in owners if prefix.version == address.version and address in prefix]
        longest = max(matching, key=lambda prefix: prefix.prefixlen, default=None)
        assert allowed.peer_of(address.packed) == (None if longest is None else owners[longest])


def routes(*entries: tuple[str, str]) -> AllowedIps[str]:
    allowed: AllowedIps[str] = AllowedIps()
    for prefix, peer in entries:
        allowed.insert(parse_prefix(prefix), peer)
    return allowed


def peer_of(allowed: AllowedIps[str], address: str) -> str | None:
    return allowed.peer_of(ip_address(address).packed)

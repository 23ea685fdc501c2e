"""Candidates to text and back, their priorities, and which addresses are never used."""

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from transport.errors import LocalProtocolError
from transport.ice.candidates import (
    MAX_NAME_LEN,
    MAX_PRIORITY,
    MAX_TEXT_LEN,
    MAX_TOKENS,
    AddressRules,
    BadCandidate,
    Candidate,
    CandidateKind,
    decode_candidate,
    encode_candidate,
    forwarded,
    make_candidate,
    pair_priority,
    priority,
)
from wg.datagrams import Endpoint

UFRAG = "abcdefghijklmnop"
# Signal spec 5.5.
HOST_TEXT = f"4273957277 1 udp 2130706431 10.0.75.1 51820 typ host ufrag {UFRAG} cid {'A' * 32}"
SRFLX_TEXT = (
    f"647372371 1 udp 1694498815 191.228.238.68 40001 typ srflx raddr 0.0.0.0 rport 51820 ufrag {UFRAG} cid {'B' * 32}"
)
HOST = make_candidate("host", Endpoint("10.0.75.1", 51820), ufrag=UFRAG, cid="A" * 32)
SRFLX = make_candidate(
    "srflx", Endpoint("191.228.238.68", 40001), ufrag=UFRAG, cid="B" * 32, related=Endpoint("0.0.0.0", 51820)
)
PLAIN = "1 1 udp 5 192.0.2.1 7 typ host"
READ = Candidate(kind="host", ip="192.0.2.1", port=7, priority=5, foundation="1")

# --- text ---


@pytest.mark.parametrize(("candidate", "text"), [(HOST, HOST_TEXT), (SRFLX, SRFLX_TEXT)])
def test_the_examples_of_the_spec_are_read_and_written(candidate: Candidate, text: str) -> None:
    assert decode_candidate(text) == candidate
    assert encode_candidate(candidate) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("candidate:" + HOST_TEXT, HOST),
        (HOST_TEXT.replace("udp", "UDP4"), HOST),
        (HOST_TEXT + " generation 0 network-cost", HOST),
        (HOST_TEXT + " ufrag other cid other", HOST),  # the first counts
        (HOST_TEXT.replace("typ host", "typ host tcptype so"), HOST),
        (HOST_TEXT.replace("2130706431", "0"), HOST),  # computed here
        (SRFLX_TEXT.replace("0.0.0.0", "any-text"), replace(SRFLX, related=Endpoint("any-text", 51820))),
        ("1 1 udp 5 2001:DB8::0:1%eth0 7 typ relay", replace(READ, kind="relay", ip="2001:db8::1")),
        ("1 1 udp 5 192.0.2.1 7 typ prflx raddr x rport 0", replace(READ, kind="prflx", related=Endpoint("x", 0))),
        (" 1 udp 5 192.0.2.1 7 typ host", replace(READ, foundation="")),
        (
            "a+/Z 99999 udp 4294967295 192.0.2.1 0 typ host cid",
            replace(READ, foundation="a+/Z", component=99999, priority=MAX_PRIORITY, port=0),
        ),
        # A slip of NetBird's (signal spec 5.5).
        (PLAIN + " cid candidate:" + "C" * 32, replace(READ, cid="candidate:" + "C" * 32)),
        (PLAIN + " cid \xff\t\x1b", replace(READ, cid="\xff\t\x1b")),
        (PLAIN + " generation rport", READ),
        (PLAIN + " ufrag " + "u" * MAX_NAME_LEN, replace(READ, ufrag="u" * MAX_NAME_LEN)),
        (PLAIN + " " + "x" * (MAX_TEXT_LEN - len(PLAIN) - 1), READ),
    ],
)
def test_what_others_may_write(text: str, expected: Candidate) -> None:
    assert decode_candidate(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1 words"),
        ("a=" + "candidate:" + HOST_TEXT, "foundation 'a=candidate:4273957277'"),
        (PLAIN.removesuffix(" host"), "7 words"),
        (PLAIN.replace("1 1", "1  1"), "component"),
        ("f" * 33 + PLAIN[1:], "foundation"),
        ("é" + PLAIN[1:], "foundation"),
        (PLAIN.replace("1 1", "1 -1"), "component '-1'"),
        (PLAIN.replace("1 1", "1 100000"), "component"),
        (PLAIN.replace("1 1", "1 ²"), "component"),
        (PLAIN.replace("1 1", "1 000001"), "component"),
        (PLAIN.replace(" 5 ", " 00000000005 "), "priority"),
        (PLAIN.replace("udp", "tcp"), "udp would do"),
        (PLAIN.replace("udp", "ud"), "transport"),
        (PLAIN.replace(" 5 ", " 12345678901 "), "priority"),
        (PLAIN.replace(" 5 ", " 4294967296 "), "priority"),
        (PLAIN.replace(" 5 ", " 0x5 "), "priority"),
        (PLAIN.replace("192.0.2.1", "192.0.2.256"), "address"),
        (PLAIN.replace("192.0.2.1", "host.example"), "address"),
        (PLAIN.replace("192.0.2.1", "3f2c-a.local"), "mDNS name"),
        (PLAIN.replace(" 7 ", " 65536 "), "port"),
        (PLAIN.replace(" 7 ", " 000007 "), "port"),
        (PLAIN.replace("typ", "type"), "seventh word"),
        (PLAIN.replace("host", "hosts"), "type 'hosts'"),
        (PLAIN + " raddr 10.0.0.1", "raddr or rport"),
        (PLAIN + " rport 7", "raddr or rport"),
        (PLAIN + " raddr 10.0.0.1 rport", "raddr or rport"),
        (PLAIN + " raddr 10.0.0.1 port 7", "raddr or rport"),
        (PLAIN + " raddr 10.0.0.1 rport 65536", "rport"),
        (PLAIN + " tcptype passively", "tcptype"),
        (PLAIN + "  ufrag x", "single spaces"),
        (PLAIN + " ufrag " + "u" * (MAX_NAME_LEN + 1), "ufrag of 257"),
        (PLAIN + " x" * MAX_TOKENS, "words"),
        (PLAIN + " x " + "y" * MAX_TEXT_LEN, "characters"),
        (PLAIN + " x \0", "NUL"),
        (PLAIN + " x y\r\nz", "line ends"),
        (PLAIN + " x \u0100", "above"),
    ],
)
def test_what_is_no_candidate_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(BadCandidate, match=told) as caught:
        decode_candidate(text)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 200


kinds: st.SearchStrategy[CandidateKind] = st.sampled_from(["host", "srflx", "prflx", "relay"])
ips = st.ip_addresses().map(str)
names = st.none() | st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=40)
made = st.builds(
    make_candidate,
    kinds,
    st.builds(Endpoint, ips, st.integers(0, 0xFFFF), st.just(0)),
    ufrag=names,
    cid=names,
    related=st.none() | st.builds(Endpoint, ips, st.integers(1, 0xFFFF), st.just(0)),
    local_preference=st.integers(0, 65535),
)


@given(made)
def test_what_is_written_is_read_back(candidate: Candidate) -> None:
    assert decode_candidate(encode_candidate(candidate)) == candidate


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from([*SRFLX_TEXT.split(" "), "", "candidate:", "tcptype", "0", "::1"]), max_size=20).map(
        " ".join
    )
)
def test_any_text_is_a_candidate_or_bad(text: str) -> None:
    check_any(text)


@given(st.sampled_from([HOST_TEXT, SRFLX_TEXT]), st.data())
def test_a_changed_candidate_is_one_or_bad(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    check_any(text[:start] + data.draw(st.text(max_size=8)) + text[end:])


@pytest.mark.parametrize(
    "candidate", [replace(HOST, cid="two words"), replace(HOST, ip="host"), replace(HOST, ufrag="\n")]
)
def test_ours_must_be_readable(candidate: Candidate) -> None:
    with pytest.raises(LocalProtocolError, match="candidate of ours"):
        encode_candidate(candidate)


def test_a_related_address_that_says_nothing_is_not_written() -> None:
    text = encode_candidate(replace(HOST, related=Endpoint("0.0.0.0", 0)))
    assert text == HOST_TEXT


def test_candidates_that_fare_alike_have_one_foundation() -> None:
    one, other = Endpoint("2001:db8::1", 1), Endpoint("2001:db8::1", 2)
    assert make_candidate("host", one).foundation == make_candidate("host", other).foundation
    assert make_candidate("host", one).foundation == str(crc32(b"host2001:db8::1udp6"))


# --- priorities ---


def test_priorities_are_those_of_netbird() -> None:
    assert [priority(kind) for kind in ("host", "prflx", "srflx", "relay")] == [
        2130706431,
        1862270975,
        1694498815,
        16777215,
    ]
    assert priority("host", 65534) == 2130706431 - 256


def test_both_ends_rank_pairs_alike() -> None:
    host, srflx = priority("host"), priority("srflx")
    assert pair_priority(host, srflx) == (srflx << 32) + 2 * host + 1
    assert pair_priority(srflx, host) == (srflx << 32) + 2 * host
    assert pair_priority(host, host) == (host << 32) + 2 * host
    assert pair_priority(host, host) > pair_priority(host, srflx) > pair_priority(srflx, srflx)
    # The lesser candidate decides, whatever the better one is.
    assert pair_priority(priority("relay"), host) < pair_priority(srflx, srflx)


# --- a second place behind a NAT ---


def test_a_forwarded_port_is_worth_a_candidate() -> None:
    assert forwarded(SRFLX) == make_candidate(
        "srflx", Endpoint("191.228.238.68", 51820), ufrag=UFRAG, related=Endpoint("0.0.0.0", 51820)
    )


@pytest.mark.parametrize(
    "candidate",
    [
        HOST,
        replace(SRFLX, cid=None),
        replace(SRFLX, related=None),
        replace(SRFLX, related=Endpoint("0.0.0.0", 0)),
        replace(SRFLX, port=51820),
        replace(SRFLX, kind="prflx"),
    ],
)
def test_other_candidates_have_no_second_place(candidate: Candidate) -> None:
    assert forwarded(candidate) is None


# --- which are used ---

RULES = AddressRules(["10.77.0.0/24", "fd00:77::/64"])


@pytest.mark.parametrize("ip", ["10.0.75.1", "192.0.2.1", "100.64.0.1", "10.77.1.1", "2001:db8::1", "fd00:78::1"])
def test_addresses_of_hosts_are_used(ip: str) -> None:
    assert RULES.refusal(ip) is None


@pytest.mark.parametrize(
    ("ip", "why"),
    [
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("0.1.2.3", "reserved"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "site-local"),
        ("::ffff:192.0.2.1", "IPv4 inside IPv6"),
        ("::ffff:127.0.0.1", "IPv4 inside IPv6"),
        ("::192.0.2.1", "IPv4 inside IPv6"),
        ("10.77.0.9", "inside our own network (10.77.0.0/24)"),
        ("fd00:77::9", "inside our own network (fd00:77::/64)"),
        ("host.example", "no IP address"),
    ],
)
def test_addresses_that_lead_nowhere_are_refused(ip: str, why: str) -> None:
    assert RULES.refusal(ip) == why


def test_agents_of_one_machine_may_use_its_loopback() -> None:
    rules = AddressRules(loopback=True)
    assert rules.refusal("127.0.0.1") is None
    assert rules.refusal("::1") is None
    assert rules.refusal("0.0.0.0") == "unspecified"


def test_candidates_need_a_port_and_the_one_component() -> None:
    assert RULES.refusal_of(HOST) is None
    assert RULES.refusal_of(replace(HOST, port=0)) == "port 0"
    assert RULES.refusal_of(replace(HOST, component=2)) == "component 2"
    assert RULES.refusal_of(replace(HOST, ip="10.77.0.9")) == "inside our own network (10.77.0.0/24)"


@given(st.text(max_size=45) | ips)
def test_any_text_is_used_or_refused(text: str) -> None:
    assert RULES.refusal(text) != ""


def check_any(text: str) -> None:
    """Read a text; what comes of it has its bounds and is read back."""
    try:
        candidate = decode_candidate(text)
    except BadCandidate:
        return
    assert 0 <= candidate.port <= 0xFFFF
    assert 0 < candidate.priority <= MAX_PRIORITY
    assert candidate.family == (6 if ":" in candidate.ip else 4)
    again = decode_candidate(encode_candidate(candidate))
    assert again == replace(candidate, related=again.related)

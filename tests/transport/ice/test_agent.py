"""What one agent makes of its remote: roles, candidates, a pair that dies or moves, sessions."""

from ipaddress import ip_address

import msgspec
import pytest

from tests.kit.nats import HAIRPINNING, MASQUERADE, RESTRICTED_CONE
from tests.kit.net import HOST_PORT
from tests.transport.ice.ends import PUBLIC, End, Ends, connected, credentials, home
from transport.ice.candidates import decode_candidate, encode_candidate, make_candidate
from transport.ice.events import PairDoubtful, PairSelected
from transport.ice.pairs import MAX_PAIRS, MAX_REMOTES, MAX_SIGNALLED
from transport.ice.stun import BindingError, BindingRequest, BindingSuccess, CandidateIds, decode, encode
from transport.ice.timing import FOREIGN, OURS
from transport.signal.messages import IceCredentials
from wg.datagrams import Endpoint

STRANGER = Endpoint("192.0.2.99", 4242)
TRANSACTION = bytes(range(12))


def alone(*, controlling: bool = False, remote: IceCredentials | None = None) -> tuple[Ends, End]:
    """Return Bob with an agent whose remote is us."""
    ends = Ends(PUBLIC, PUBLIC, servers=0)
    bob = ends.bob
    bob.agents.open(bob.id, bob.local, remote, ends.net.now, controlling=controlling, ours=True)
    return ends, bob


US = credentials("usUfrag")


def check_of_us(bob: End, **fields: object) -> bytes:
    request = BindingRequest(
        transaction=TRANSACTION, username=f"{bob.local.ufrag}:{US.ufrag}", role="controlling", tie_breaker=5, priority=9
    )
    return encode(msgspec.structs.replace(request, **fields), bob.local.pwd)


def deliver(ends: Ends, end: End, datagram: bytes, source: Endpoint = STRANGER) -> list[tuple[Endpoint, bytes]]:
    """Hand a datagram in, and return what comes out at once."""
    assert end.host.v4 is not None
    end.agents.receive(datagram, source, ip_address(end.host.v4).packed, ends.net.now)
    return [(out.destination, out.datagram) for out in end.agents.datagrams_to_send()]


# --- roles ---


@pytest.mark.parametrize("controlling", [("alice", "bob"), ()], ids=["both controlling", "both controlled"])
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
@pytest.mark.parametrize("seed", range(4))
def test_a_role_conflict_ends_with_two_roles(controlling: tuple[str, ...], ours: bool, seed: int) -> None:
    ends = Ends(home("a"), home("b"), controlling=controlling, ours=ours, seed=seed)
    ends.run_for(0.5)
    ends.open()
    ends.run_until_settled()
    assert ends.path == "direct"
    assert {end.report.controlling for end in ends.ends.values()} == {True, False}
    assert sum(end.report.role_switches for end in ends.ends.values()) >= 1
    ends.run_for(10.0)
    assert ends.path == "direct"


def test_the_greater_tie_breaker_keeps_its_role() -> None:
    ends, bob = alone(controlling=True, remote=US)
    [(_, refusal)] = deliver(ends, bob, check_of_us(bob, tie_breaker=0))
    answer = decode(refusal, bob.local.pwd)
    assert isinstance(answer, BindingError)
    assert answer.code == 487
    deliver(ends, bob, check_of_us(bob, tie_breaker=2**64 - 1))
    assert not bob.report.controlling


# --- nomination ---


def test_both_ends_select_the_same_pair() -> None:
    ends = connected(home("a", MASQUERADE), home("b", RESTRICTED_CONE))
    assert ends.alice.endpoint == Endpoint(ends.net.outside_of("b"), _outside_port(ends.bob))
    assert ends.bob.endpoint == Endpoint(ends.net.outside_of("a"), HOST_PORT)


def _outside_port(end: End) -> int:
    mapped = end.report.selected
    assert mapped is not None
    assert mapped.mapped is not None
    return mapped.mapped.port


def test_towards_a_foreign_peer_a_reflexive_pair_waits_for_better_ones() -> None:
    ends = connected(home("a"), home("b"), ours=False)
    at, event = ends.alice.all(PairSelected)[0]
    assert isinstance(event, PairSelected)
    assert event.kind == "srflx"
    assert at - ends.opened_at >= FOREIGN.nomination_wait_s["srflx"]
    assert connected(home("a"), home("b")).alice.all(PairSelected)[0][0] - ends.opened_at < 0.5


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
def test_a_better_pair_takes_over_between_ours(ours: bool) -> None:
    lan = home("one", HAIRPINNING)
    ends = Ends(lan, lan, ours=ours)
    ends.mute = set(ends.ends)
    ends.run_for(0.5)
    ends.open()
    outside = ends.net.outside_of("one")
    for kind in ("srflx", "host"):
        for end in ends.ends.values():
            for candidate in end.report.local_candidates:
                if candidate.kind == kind:
                    ends.say_again(end, candidate)
        ends.run_for(2.0)
        last = outside if kind == "srflx" or not ours else None
        assert [end.endpoint and end.endpoint.ip for end in ends.ends.values()] == [
            last or ends.bob.host.v4,
            last or ends.alice.host.v4,
        ]
    assert [end.all(PairDoubtful) for end in ends.ends.values()] == [[], []]


# --- candidates ---


def candidate_text(number: int) -> str:
    return encode_candidate(
        make_candidate("host", Endpoint(f"203.0.{number >> 8 & 255}.{number & 255}", 1 + number % 65535))
    )


def test_ten_thousand_candidates_are_bounded_and_counted() -> None:
    ends, bob = alone(remote=US)
    for number in range(10_000):
        bob.agents.add_remote_candidate(bob.id, candidate_text(number), ends.net.now)
    assert len(bob.report.remote_candidates) == MAX_SIGNALLED
    assert len(bob.report.pairs) <= MAX_PAIRS
    assert bob.report.drops["too_many_candidates"] == 10_000 - MAX_SIGNALLED
    sent = 0
    for _ in range(10):
        ends.net.run_for(0.1)
        sent = sum(pair.sent for pair in bob.report.pairs)
    assert sent <= 1.0 / OURS.pace_s + 1


def test_candidates_that_came_to_nothing_make_room() -> None:
    ends = connected(home("a"), home("b"))
    for round_number in range(3):
        for number in range(2 * MAX_SIGNALLED):
            text = candidate_text(1000 * round_number + number)
            ends.bob.agents.add_remote_candidate(ends.bob.id, text, ends.net.now)
        ends.run_for(15.0)
        latest = {pair.remote for pair in ends.bob.report.pairs}
        assert decode_candidate(candidate_text(1000 * round_number)).endpoint in latest
        assert len(latest) == MAX_SIGNALLED
    assert ends.path == "direct"


def test_candidates_before_the_credentials_wait_bounded() -> None:
    ends, bob = alone()
    for number in range(MAX_SIGNALLED + 3):
        bob.agents.add_remote_candidate(bob.id, candidate_text(number), ends.net.now)
    assert (bob.report.state, bob.report.remote_candidates) == ("waiting", ())
    bob.agents.open(bob.id, bob.local, US, ends.net.now, controlling=False, ours=True)
    assert (bob.report.state, len(bob.report.remote_candidates)) == ("checking", MAX_SIGNALLED)
    assert bob.report.drops["too_many_candidates"] == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "bad_candidate"),
        ("1 1 udp 1 127.0.0.1 9 typ host", "refused_candidate"),
        ("1 1 udp 1 198.51.100.7 0 typ host", "refused_candidate"),
        ("1 1 udp 1 198.51.100.7 9 typ host ufrag anotherUfrag", "candidate_of_another_session"),
    ],
)
def test_a_bad_candidate_is_counted(text: str, reason: str) -> None:
    ends, bob = alone(remote=US)
    bob.agents.add_remote_candidate(bob.id, text, ends.net.now)
    assert bob.report.drops == {reason: 1}
    assert bob.report.remote_candidates == ()


def test_a_forwarded_port_is_tried_too() -> None:
    ends, bob = alone(remote=US)
    text = f"1 1 udp 1694498815 203.0.113.5 40001 typ srflx raddr 10.0.0.1 rport 51820 ufrag {US.ufrag} cid {'B' * 32}"
    bob.agents.add_remote_candidate(bob.id, text, ends.net.now)
    assert {pair.remote.port for pair in bob.report.pairs} == {40001, 51820}


def test_a_check_from_an_unknown_place_makes_a_candidate_which_its_signal_then_names() -> None:
    ends, bob = alone(remote=US)
    deliver(ends, bob, check_of_us(bob))
    assert [(each.kind, each.endpoint) for each in bob.report.remote_candidates] == [("prflx", STRANGER)]
    text = encode_candidate(
        make_candidate("srflx", STRANGER, related=Endpoint("10.0.0.1", STRANGER.port), cid="C" * 32)
    )
    bob.agents.add_remote_candidate(bob.id, text, ends.net.now)
    assert [(each.kind, each.cid) for each in bob.report.remote_candidates] == [("srflx", "C" * 32)]
    assert len(bob.report.pairs) == 1


def test_unknown_places_are_bounded() -> None:
    ends, bob = alone(remote=US)
    for port in range(1, 200):
        deliver(ends, bob, check_of_us(bob), Endpoint("192.0.2.99", port))
    assert len(bob.report.remote_candidates) == MAX_REMOTES


def test_a_remote_without_credentials_ends_the_agent() -> None:
    _, bob = alone(remote=IceCredentials(ufrag="", pwd=US.pwd))
    assert (bob.report.state, bob.report.reason) == ("ended", "the remote has no ICE credentials")
    _, bob = alone(remote=credentials("x" * 600))
    assert bob.report.reason == "the remote's ufrag has 600 characters; up to 256 without colon would do"


# --- requests ---


def test_a_check_is_answered_with_where_it_came_from_and_checked_back() -> None:
    ends, bob = alone(remote=US)
    [(destination, datagram)] = deliver(ends, bob, check_of_us(bob))
    answer = decode(datagram, bob.local.pwd)
    assert isinstance(answer, BindingSuccess)
    assert (destination, answer.mapped, answer.transaction) == (STRANGER, STRANGER, TRANSACTION)
    bob.agents.handle_timeout(ends.net.now)
    [out] = bob.agents.datagrams_to_send()
    request = decode(out.datagram, US.pwd)
    assert isinstance(request, BindingRequest)
    assert (out.destination, request.username) == (STRANGER, f"{US.ufrag}:{bob.local.ufrag}")
    assert (request.role, request.use_candidate) == ("controlled", False)


def test_a_check_before_the_credentials_is_answered_and_followed_up_later() -> None:
    ends, bob = alone()
    assert len(deliver(ends, bob, check_of_us(bob))) == 1
    bob.agents.handle_timeout(ends.net.now)
    assert bob.agents.datagrams_to_send() == []
    bob.agents.open(bob.id, bob.local, US, ends.net.now, controlling=False, ours=True)
    bob.agents.handle_timeout(ends.net.now)
    assert [out.destination for out in bob.agents.datagrams_to_send()] == [STRANGER]


def test_checks_are_answered_after_the_end() -> None:
    ends, bob = alone(remote=US)
    ends.run_for(13.0)
    assert bob.report.state == "ended"
    [(_, datagram)] = deliver(ends, bob, check_of_us(bob))
    assert isinstance(decode(datagram, bob.local.pwd), BindingSuccess)
    assert bob.agents.next_timeout() is None


@pytest.mark.parametrize(
    ("username", "reason"),
    [("bobUfrag:usUfra", "username"), ("bobUfrag:usUfragg", "username"), ("bobUfrag", "username")],
)
def test_a_check_of_another_session_is_not_answered(username: str, reason: str) -> None:
    ends, bob = alone(remote=US)
    assert deliver(ends, bob, check_of_us(bob, username=username)) == []
    assert bob.report.drops == {reason: 1}


def test_a_check_that_is_signed_by_another_is_not_answered() -> None:
    ends, bob = alone(remote=US)
    forged = encode(BindingRequest(transaction=TRANSACTION, username=f"{bob.local.ufrag}:{US.ufrag}"), US.pwd)
    assert deliver(ends, bob, forged) == []
    assert bob.report.drops == {"integrity": 1}
    assert bob.report.pairs == ()


def test_ids_are_told_to_a_remote_that_names_its_candidates() -> None:
    ends, bob = alone(remote=US)
    [host] = bob.report.local_candidates
    text = f"1 1 udp 2130706431 {STRANGER.ip} {STRANGER.port} typ host ufrag {US.ufrag} cid {'B' * 32}"
    bob.agents.add_remote_candidate(bob.id, text, ends.net.now)
    [(_, datagram)] = deliver(ends, bob, check_of_us(bob))
    assert decode(datagram).ids == CandidateIds(str(host.cid), "B" * 32)
    bob.agents.handle_timeout(ends.net.now)
    [out] = bob.agents.datagrams_to_send()
    assert decode(out.datagram, US.pwd).ids == CandidateIds(str(host.cid), "B" * 32)


@pytest.mark.parametrize("cid", [None, "candidate:" + "B" * 32, "\u00e9", "x" * 256])
def test_odd_ids_hurt_nobody(cid: str | None) -> None:
    ends, bob = alone(remote=US)
    named = "" if cid is None else f" cid {cid}"
    text = f"1 1 udp 2130706431 {STRANGER.ip} {STRANGER.port} typ host{named}"
    bob.agents.add_remote_candidate(bob.id, text, ends.net.now)
    [(_, datagram)] = deliver(ends, bob, check_of_us(bob))
    ids = decode(datagram, bob.local.pwd).ids
    assert ids is None or ids.destination == (cid or "").rpartition(":")[2]
    assert (ids is None) == (cid in (None, "\u00e9"))


@pytest.mark.parametrize("length", [32, 500])
def test_a_remote_learned_by_its_check_is_named_by_its_id(length: int) -> None:
    ends, bob = alone(remote=US)
    [(_, datagram)] = deliver(ends, bob, check_of_us(bob, ids=CandidateIds("S" * length, "D" * 12)))
    [learned] = bob.report.remote_candidates
    assert learned.cid == "S" * length
    assert (decode(datagram).ids is None) == (length > 256)


# --- sessions ---


def test_a_new_session_takes_the_place_of_the_old_and_its_mail_is_dropped() -> None:
    ends = connected(home("a"), home("b"))
    old, text = ends.bob.id, encode_candidate(ends.alice.report.local_candidates[0])
    for name in ends.ends:
        ends.rotate(name)
    ends.open()
    ends.bob.agents.add_remote_candidate(old, text, ends.net.now)
    ends.bob.agents.close(old)
    assert ends.bob.agents.drops["other_session"] == 2
    ends.run_until_settled()
    ends.run_for(1.0)
    assert ends.path == "direct"
    assert all(end.report.drops.get("candidate_of_another_session", 0) == 0 for end in ends.ends.values())


@pytest.mark.parametrize("seed", range(8))
def test_sessions_that_restart_at_both_ends_at_different_times_settle(seed: int) -> None:
    ends = connected(home("a"), home("b", MASQUERADE), seed=seed)
    for _ in range(3):
        for name in ends.ends:
            ends.rotate(name)
        first, second = ("alice", "bob") if ends.net.rng.random() < 0.5 else ("bob", "alice")
        ends.open(first)
        ends.run_for(ends.net.rng.random())
        ends.open(second)
        for end in ends.ends.values():
            for candidate in end.report.local_candidates:
                ends.say_again(end, candidate)
        ends.run_until_settled()
        assert ends.path == "direct"


def test_the_same_session_again_changes_nothing() -> None:
    ends = connected(home("a"), home("b"))
    before = ends.bob.agents.snapshot()
    ends.open()
    assert ends.bob.agents.snapshot() == before
    assert ends.path == "direct"


def test_a_closed_agent_is_silent() -> None:
    ends, bob = alone(remote=US)
    bob.agents.close(bob.id)
    assert deliver(ends, bob, check_of_us(bob)) == []
    assert (len(bob.agents), bob.agents.next_timeout()) == (0, None)
    assert bob.agents.describe(bob.id.peer) is None


def test_candidates_read_back_as_they_were_told() -> None:
    ends = connected(home("a"), home("b"))
    for candidate in ends.alice.report.local_candidates:
        assert decode_candidate(encode_candidate(candidate)) == candidate
        assert candidate.ufrag == ends.alice.local.ufrag
        assert len(candidate.cid or "") == 32

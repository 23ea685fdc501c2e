import random
from collections import Counter
from ipaddress import ip_address
from itertools import pairwise

import pytest

from tests.transport.ice.ends import credentials
from transport.ice.candidates import AddressRules, make_candidate
from transport.ice.checks import LIFETIME_S, MAX_UNDER_WAY, Check, Checks
from transport.ice.nomination import MAX_NOMINATIONS, NOMINATE_AGAIN_S, Nomination
from transport.ice.pacer import Pacer, Turns
from transport.ice.pairs import MAX_PAIRS, MAX_SIGNALLED, Base, CheckList, Pair
from transport.ice.stun import BindingRequest, BindingSuccess, decode, encode
from transport.ice.timing import CHECK_AT_S, FOREIGN, OURS
from transport.signal.messages import IceCredentials
from wg.datagrams import Endpoint

OWN, REMOTE = credentials("ownUfrag"), credentials("remoteUfrag")
THERE = Endpoint("203.0.113.9", 51820)


def base(ip: str = "10.0.0.1") -> Base:
    return Base(ip, 51820, ip_address(ip).packed)


def check_list(*bases: str, controlling: bool = True) -> CheckList:
    pairs = CheckList(AddressRules(), controlling=controlling, drops=Counter())
    pairs.set_bases([base(ip) for ip in bases or ("10.0.0.1",)], 0.0)
    return pairs


def a_pair() -> Pair:
    pairs = check_list()
    pairs.add_remote(make_candidate("host", THERE), THERE, 0.0, keep=None)
    return next(iter(pairs))


def checks(*, controlling: bool = True) -> Checks:
    made = Checks(OWN, controlling=controlling, entropy=random.Random(1).randbytes)
    made.remote = REMOTE
    return made


def answer_to(request: bytes, signer: IceCredentials = REMOTE) -> bytes:
    return encode(BindingSuccess(transaction=request[8:20], mapped=Endpoint("192.0.2.1", 9)), signer.pwd)


# --- messages ---


@pytest.mark.parametrize(("controlling", "role"), [(True, "controlling"), (False, "controlled")])
def test_a_request_says_who_we_are(controlling: bool, role: str) -> None:
    request = checks(controlling=controlling).request(a_pair(), "check", 0.0, nominate=False)
    read = decode(request, REMOTE.pwd)
    assert isinstance(read, BindingRequest)
    assert (read.username, read.role, read.use_candidate) == ("remoteUfrag:ownUfrag", role, False)
    assert read.priority == 110 << 24 | 65535 << 8 | 255
    assert read.ids is None


def test_an_answer_settles_its_request_once() -> None:
    made, pair = checks(), a_pair()
    request = made.request(pair, "consent", 5.0, nominate=True)
    answer = answer_to(request)
    found = made.read_answer(answer, request[8:20], THERE, 5.5)
    assert isinstance(found, tuple)
    assert found[0] == Check(pair, "consent", "controlling", 5.0)
    assert made.read_answer(answer, request[8:20], THERE, 5.5) == "unknown_transaction"


def test_a_wrong_answer_leaves_the_request_under_way() -> None:
    made = checks()
    request = made.request(a_pair(), "check", 0.0, nominate=False)
    transaction, elsewhere = request[8:20], Endpoint("203.0.113.9", 51821)
    assert made.read_answer(answer_to(request, OWN), transaction, THERE, 0.1) == "integrity"
    assert made.read_answer(answer_to(request), transaction, elsewhere, 0.1) == "answer_from_elsewhere"
    assert made.read_answer(answer_to(request)[:-1], transaction, THERE, 0.1) == "malformed"
    assert isinstance(made.read_answer(answer_to(request), transaction, THERE, 0.1), tuple)


def test_an_answer_that_comes_too_late_is_none() -> None:
    made = checks()
    request = made.request(a_pair(), "check", 0.0, nominate=False)
    late = made.read_answer(answer_to(request), request[8:20], THERE, LIFETIME_S + 0.1)
    assert late == "unknown_transaction"


def test_requests_under_way_are_bounded() -> None:
    made, pair = checks(), a_pair()
    first = made.request(pair, "check", 0.0, nominate=False)
    others = [made.request(pair, "check", 0.0, nominate=False) for _ in range(MAX_UNDER_WAY)]
    assert made.read_answer(answer_to(first), first[8:20], THERE, 0.0) == "unknown_transaction"
    assert all(isinstance(made.read_answer(answer_to(each), each[8:20], THERE, 0.0), tuple) for each in others)


def test_roles_of_two_that_differ_in_nothing_but_their_number() -> None:
    request = BindingRequest(transaction=bytes(12), role="controlling", tie_breaker=0)
    assert checks(controlling=True).keeps_role(request)
    assert not checks(controlling=False).keeps_role(request)


# --- pairs ---


def test_pairs_are_of_one_family_and_in_the_order_of_their_priority() -> None:
    pairs = check_list("10.0.0.1", "2001:db8::1")
    for candidate in (
        make_candidate("srflx", Endpoint("203.0.113.7", 1)),
        make_candidate("host", Endpoint("2001:db8::9", 2)),
        make_candidate("prflx", Endpoint("203.0.113.8", 3)),
    ):
        pairs.add_remote(candidate, candidate.endpoint, 0.0, keep=None)
    assert [(pair.base.ip, pair.remote.endpoint.port) for pair in pairs] == [
        ("2001:db8::1", 2),
        ("10.0.0.1", 3),
        ("10.0.0.1", 1),
    ]


def test_pairs_are_bounded() -> None:
    pairs = check_list(*(f"10.0.0.{number}" for number in range(1, 17)))
    for port in range(1, 33):
        endpoint = Endpoint("203.0.113.7", port)
        pairs.add_remote(make_candidate("host", endpoint), endpoint, 0.0, keep=None)
    assert len(list(pairs)) == MAX_PAIRS


def test_a_pair_is_checked_by_its_steps_and_then_fails() -> None:
    pairs = check_list()
    pairs.add_remote(make_candidate("host", THERE), THERE, 10.0, keep=None)
    [pair] = pairs
    times = []
    while (at := pairs.next_at()) < 1e9:
        pairs.expire(at)
        due = pairs.due(at)
        if due is not None:
            due.checked(at)
            times.append(at - 10.0)
    assert times == pytest.approx(CHECK_AT_S)
    assert pair.state == "failed"


def test_what_the_remote_checks_goes_first() -> None:
    pairs = check_list()
    for port in (1, 2, 3):
        endpoint = Endpoint("203.0.113.7", port)
        pairs.add_remote(make_candidate("host", endpoint), endpoint, 0.0, keep=None)
    last = list(pairs)[-1]
    assert pairs.due(0.0) is not last
    last.begin(0.0, triggered=True)
    assert pairs.due(0.0) is last


# --- turns and nominations ---


def test_all_agents_together_keep_the_pace() -> None:
    pacer = Pacer(0.005)
    turns = [Turns(pacer, 0.02) for _ in range(50)]
    waiting, now, taken = list(turns), 0.0, []
    while waiting:
        for each in [each for each in waiting if each.take(0.0, now)]:
            waiting.remove(each)
            taken.append(now)
        now = min((each.next_at(0.0) for each in waiting), default=now)
    assert min(after - before for before, after in pairwise(taken)) >= 0.0049
    assert taken[-1] == pytest.approx(49 * 0.005)
    assert turns[0].next_at(0.0) == pytest.approx(0.02)


def test_a_nomination_is_repeated_and_then_given_up() -> None:
    nomination, pair = Nomination(OURS), a_pair()
    nomination.consider(pair, since=0.0, selected=None, now=1.0)
    sent = []
    while nomination.give_up() is None:
        at = nomination.due_at
        assert nomination.take(at) is pair
        sent.append(at)
    assert sent == pytest.approx([1.0 + NOMINATE_AGAIN_S * number for number in range(MAX_NOMINATIONS)])
    assert nomination.pair is None


def test_a_lesser_pair_waits_for_its_time_towards_foreign_peers() -> None:
    nomination, pairs = Nomination(FOREIGN), check_list()
    pairs.add_remote(make_candidate("prflx", THERE), THERE, 0.0, keep=None)
    [pair] = pairs
    nomination.consider(pair, since=5.0, selected=None, now=5.1)
    assert nomination.take(5.1) is None
    assert nomination.due_at == 5.0 + FOREIGN.nomination_wait_s["prflx"]
    nomination.consider(pair, since=5.0, selected=None, now=nomination.due_at)
    assert nomination.take(nomination.due_at) is pair


@pytest.mark.parametrize(("answered_at", "taken"), [(99.5, True), (90.0, False)])
def test_a_better_pair_is_nominated_only_while_it_is_known_to_work(answered_at: float, taken: bool) -> None:
    nomination, pairs = Nomination(OURS), check_list()
    pairs.add_remote(make_candidate("host", THERE), THERE, 0.0, keep=None)
    lesser = Endpoint("203.0.113.9", 9)
    pairs.add_remote(make_candidate("srflx", lesser), lesser, 0.0, keep=None)
    better, selected = pairs
    better.state, better.answered_at = "succeeded", answered_at
    nomination.consider(better, since=None, selected=selected, now=100.0)
    assert (nomination.take(100.0) is better) == taken


def test_candidates_that_cannot_be_tried_yet_are_kept() -> None:
    pairs = CheckList(AddressRules(), controlling=True, drops=Counter())
    first = [Endpoint("203.0.113.7", port) for port in range(1, MAX_SIGNALLED + 1)]
    for endpoint in [*first, THERE]:
        pairs.add_remote(make_candidate("host", endpoint), endpoint, 0.0, keep=None)
    assert list(pairs.remotes) == first

import random

from actors.addresses import ICE_AGENTS
from actors.messages.packet import AddRemoteCandidate
from actors.messages.peer import IceTurn
from actors.peer.ice_candidates import MAX_EARLY, MAX_TOLD, RemoteCandidates
from actors.peer.ice_worker import IceWorker
from config.keys import Secret
from tests.actors.peer.names import BOB, TO
from tests.kit.bench import Bench
from transport.ice.candidates import encode_candidate, make_candidate
from transport.signal.messages import CandidateReceived, IceCredentials
from wg.datagrams import Endpoint


def text(number: int, ufrag: str | None = "alice") -> str:
    return encode_candidate(make_candidate("host", Endpoint("192.0.2.1", 1000 + number), ufrag=ufrag))


def test_what_came_early_is_told_to_the_agent_of_its_session() -> None:
    candidates = RemoteCandidates()
    for each in (text(1), text(2, "bob"), text(3, None), text(1), "no candidate"):
        candidates.keep(each)
    assert candidates.begin("alice") == [text(1), text(3, None), "no candidate"]
    assert candidates.begin("bob") == [text(2, "bob")]


def test_a_candidate_that_overtakes_the_offer_of_its_session_waits_for_it() -> None:
    candidates = RemoteCandidates()
    candidates.begin("alice")
    assert candidates.take(text(1))
    assert not candidates.take(text(2, "bob"))
    candidates.end()
    assert candidates.begin("bob") == [text(2, "bob")]


def test_each_is_told_once_to_each_agent() -> None:
    candidates = RemoteCandidates()
    candidates.begin("alice")
    assert [candidates.take(text(1)), candidates.take(text(1))] == [True, False]
    candidates.begin("alice")
    assert candidates.take(text(1))


def test_ten_thousand_of_them_are_bounded_and_counted() -> None:
    candidates = RemoteCandidates()
    for number in range(10_000):
        candidates.keep(text(number))
    assert candidates.begin("alice") == [text(number) for number in range(10_000 - MAX_EARLY, 10_000)]
    assert sum(candidates.take(text(number)) for number in range(10_000)) == MAX_TOLD - MAX_EARLY
    assert candidates.dropped >= 19_000


def test_all_are_taken_for_an_agent_whose_remote_is_not_known_any_more() -> None:
    assert RemoteCandidates().take(text(1, "anybody"))


def test_a_flood_of_them_costs_the_agent_64_messages_and_is_counted() -> None:
    worker = IceWorker(BOB, TO, entropy=random.Random(1).randbytes, enabled=True, controlling=True)
    bench = Bench(worker)
    ice = IceCredentials(ufrag="alice", pwd=Secret(b"p" * 32))
    bench.tell(IceTurn(peer=BOB, turn=1, ice=ice, session=b"aaaaa", ours=True))
    for number in range(10_000):
        candidate = text(number) if number % 2 else f"no candidate {number}"
        bench.tell(CandidateReceived(peer=BOB, candidate=candidate, nonce=number.to_bytes(24, "big")))
    assert sum(isinstance(mail, AddRemoteCandidate) for mail in bench.mail(ICE_AGENTS)) == MAX_TOLD
    assert worker.counters == {"candidates_dropped": 10_000 - MAX_TOLD}

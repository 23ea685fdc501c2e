from random import Random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.addresses import CONTROL_0, PACKET, PEERS, RELAY_LINKS, STATUS, peer_addresses
from actors.messages.node import (
    CloseRelayed,
    HomeRelayChanged,
    KnownPeers,
    LinkRetryDue,
    OpenRelayed,
    OutsideEvent,
)
from actors.messages.packet import (
    CloseLink,
    CloseOnLink,
    LinkClosed,
    LinkOpened,
    LinkSnapshot,
    OpenLink,
    OpenOnLink,
    RelayedCloseDone,
    RelayedFailed,
    RelayedSnapshot,
    RelayLinksSnapshot,
    RelayLinksSnapshotWanted,
)
from actors.messages.peer import PathHindered
from actors.messages.process import ProcessRestarted
from actors.messages.status import RelaysStatus
from actors.node.home_states import Homed, Homeless, Starting
from actors.node.redial import OTHERS_RETRY_S
from actors.node.relay_server import MAX_FOREIGN, Dialling, Up
from actors.node.relays import OPENING_S, SNAPSHOT_S, UNUSED_S, Relays
from config.keys import PublicKey, encode_key
from tests.kit.bench import Bench

ALICE, BOB, CAROL = (PublicKey(encode_key(bytes([number]) * 32)) for number in (1, 2, 3))
HOME, SECOND, FOREIGN = "rel://home.test:80", "rel://second.test:80", "rel://foreign.test:80"
NOTHING = RelayLinksSnapshot(links=(), connections=())
FIRST = 100


def bench_of(*urls: str, seed: int = 1) -> Bench:
    """A bench whose packet process has said that it holds nothing."""
    bench = Bench(Relays(urls or (HOME,), (CONTROL_0,), rng=Random(seed), first_link=FIRST, packet_incarnation=1))
    bench.tell(NOTHING)
    return bench


def dials(bench: Bench) -> list[OpenLink]:
    """Take the mail to the relay links, and return what is to be dialled."""
    return [mail for mail in bench.mail(RELAY_LINKS) if isinstance(mail, OpenLink)]


def opened(link: int, url: str = HOME) -> LinkOpened:
    return LinkOpened(link=link, instance_url=url, server_ip="192.0.2.7")


def refused(link: int, url: str | None = None) -> LinkClosed:
    reason = "connection refused" if url is None else f"{url}: connection refused"
    return LinkClosed(link=link, reason=reason, was_open=False)


def over_quic(link: int, fault: str = "") -> LinkOpened:
    carried: Literal["ws", "quic"] = "ws" if fault else "quic"
    return LinkOpened(link=link, instance_url=HOME, server_ip="192.0.2.7", transport=carried, quic_fault=fault)


def lost(link: int) -> LinkClosed:
    return LinkClosed(link=link, reason="connection reset", was_open=True)


def wanted(peer: PublicKey = ALICE, generation: int = 1, url: str = HOME) -> OpenRelayed:
    return OpenRelayed(peer=peer, generation=generation, url=url)


def at_home(*urls: str) -> Bench:
    """A bench whose first configured server, on link FIRST, is home."""
    bench = bench_of(*urls)
    bench.tell(opened(FIRST))
    bench.tags()
    return bench


def next_dials(bench: Bench, limit_s: float = 60.0) -> list[OpenLink]:
    """Let time pass until something is dialled, and return it."""
    since = bench.now
    while not (found := dials(bench)):
        assert bench.now - since < limit_s
        bench.advance(0.02)
    return found


def dial_after(bench: Bench, limit_s: float = 60.0) -> float:
    """Have what is dialled next refused; return how long it took."""
    since = bench.now
    bench.tell(*(refused(dial.link) for dial in next_dials(bench, limit_s)))
    return bench.now - since


# --- home ---


def test_every_configured_server_is_dialled_and_the_first_to_accept_is_home() -> None:
    bench = bench_of(HOME, SECOND)
    assert dials(bench) == [OpenLink(link=FIRST, url=HOME), OpenLink(link=FIRST + 1, url=SECOND)]
    bench.tell(opened(FIRST + 1, SECOND))
    assert bench.state == Homed(SECOND, SECOND)
    assert bench.mail(RELAY_LINKS) == [CloseLink(link=FIRST)]
    assert bench.mail(PEERS)[-2:] == [
        HomeRelayChanged(url=SECOND, server_ip="192.0.2.7"),
        OutsideEvent(kind="relay_connected", detail=SECOND),
    ]
    bench.tell(opened(FIRST), refused(FIRST))  # it was on its way
    assert bench.state == Homed(SECOND, SECOND)


def test_at_most_seven_are_dialled_at_once() -> None:
    bench = bench_of(*(f"rel://server{number}.test:80" for number in range(10)))
    found = dials(bench)
    assert len(found) == 7
    bench.tell(refused(found[0].link))
    assert len(dials(bench)) == 1


def test_a_lost_home_is_tried_again_almost_at_once_and_then_with_growing_waits() -> None:
    bench = at_home()
    bench.tell(lost(FIRST))
    assert bench.mail(PEERS) == [HomeRelayChanged(url=None, server_ip=None)]
    waits = [dial_after(bench) for _ in range(50)]
    assert 0.1 <= waits[0] <= 0.33
    assert waits[1] <= 0.53
    assert sum(waits[:4]) < 5  # a server that is back within a second or two is met within five
    assert max(waits[:40]) <= 4.03  # and one that was away for a minute, within four
    assert 15 <= waits[-1] <= 30.1


def test_a_lost_home_is_tried_alone_for_a_moment_then_the_others_too() -> None:  # S6
    bench = at_home(HOME, SECOND)
    bench.tell(lost(FIRST))
    since = bench.now
    while SECOND not in (urls := {dial.url for dial in dials(bench)}):
        assert urls <= {HOME}
        bench.advance(0.01)
    assert bench.now - since == pytest.approx(OTHERS_RETRY_S, abs=0.02)


def test_a_configured_server_that_is_up_for_others_becomes_home() -> None:
    bench = at_home(HOME, SECOND)
    bench.tell(wanted(url=SECOND))
    [dial] = dials(bench)
    bench.tell(opened(dial.link, SECOND), lost(FIRST))
    bench.advance(OTHERS_RETRY_S)
    assert bench.state == Homed(SECOND, SECOND)


# --- relayed connections ---


def test_a_connection_at_home_is_opened_there() -> None:
    bench = at_home()
    bench.tell(wanted())
    assert bench.mail(RELAY_LINKS) == [OpenOnLink(peer=ALICE, generation=1, link=FIRST)]


def test_at_another_server_that_is_dialled_once_for_all() -> None:
    bench = at_home()
    bench.tell(wanted(ALICE, 1, FOREIGN), wanted(BOB, 2, FOREIGN))
    [dial] = dials(bench)
    assert dial.url == FOREIGN
    bench.tell(opened(dial.link, FOREIGN))
    assert bench.mail(RELAY_LINKS) == [
        OpenOnLink(peer=ALICE, generation=1, link=dial.link),
        OpenOnLink(peer=BOB, generation=2, link=dial.link),
    ]


def test_one_for_a_home_that_is_being_redialled_waits_for_it() -> None:
    bench = at_home()
    bench.tell(lost(FIRST), wanted())
    bench.advance(0.5)
    [dial] = dials(bench)
    bench.tell(opened(dial.link))
    assert bench.mail(RELAY_LINKS) == [OpenOnLink(peer=ALICE, generation=1, link=dial.link)]


def test_one_that_waits_too_long_fails_with_the_reason() -> None:
    bench = at_home()
    bench.tell(wanted(url=FOREIGN))
    begun = bench.now
    while not (mail := bench.mail(peer_addresses(ALICE).relay_worker)):
        bench.tell(*(refused(dial.link) for dial in dials(bench)))
        bench.advance(0.05)
    assert bench.now - begun == pytest.approx(OPENING_S, abs=0.2)
    reason = f"the relay server {FOREIGN} is not reachable: connection refused"
    assert mail == [RelayedFailed(peer=ALICE, generation=1, reason=reason)]
    bench.mail(RELAY_LINKS)
    bench.advance(100)
    assert dials(bench) == []  # nobody wants it any more


def test_who_waits_is_told_why_and_when_it_is_over() -> None:
    bench = at_home()
    conn = peer_addresses(ALICE).conn
    bench.tell(wanted(url=FOREIGN))
    bench.mail(conn)
    [dial] = dials(bench)
    bench.tell(refused(dial.link, FOREIGN))
    reason = f"the relay server {FOREIGN} is not reachable: connection refused"  # names it once
    assert bench.mail(conn) == [PathHindered(peer=ALICE, by="server", reason=reason)]
    dial_after(bench)
    assert bench.mail(conn) == []  # the same reason again
    bench.advance(3)
    [dial] = dials(bench)
    bench.tell(opened(dial.link, FOREIGN))
    assert bench.mail(conn) == [PathHindered(peer=ALICE, by="server", reason="")]


def test_one_servers_trouble_stops_no_work_on_another() -> None:  # recovery R5
    bench = at_home()
    bench.tell(lost(FIRST))
    bench.tell(wanted(ALICE, 1, FOREIGN))
    [dial] = dials(bench)
    bench.tell(opened(dial.link, FOREIGN))
    assert bench.mail(RELAY_LINKS) == [OpenOnLink(peer=ALICE, generation=1, link=dial.link)]
    assert isinstance(bench.state, Homeless)


def test_a_close_goes_where_the_connection_was_opened() -> None:  # recovery R5
    bench = at_home()
    bench.tell(wanted(ALICE, 1, FOREIGN))
    [dial] = dials(bench)
    bench.tell(opened(dial.link, FOREIGN))
    bench.mail(RELAY_LINKS)
    bench.tell(CloseRelayed(peer=ALICE, generation=1))
    assert bench.mail(RELAY_LINKS) == [CloseOnLink(peer=ALICE, generation=1, link=dial.link)]
    assert bench.mail(peer_addresses(ALICE).relay_worker) == []  # who closes it acknowledges


def test_a_close_cancels_an_opening_that_waits_and_is_acknowledged_at_once() -> None:  # recovery R5
    bench = at_home()
    bench.tell(wanted(ALICE, 1, FOREIGN), CloseRelayed(peer=ALICE, generation=1))
    done = RelayedCloseDone(peer=ALICE, generation=1)
    assert bench.mail(peer_addresses(ALICE).relay_worker) == [done]
    [dial] = dials(bench)
    bench.tell(opened(dial.link, FOREIGN))
    assert bench.mail(RELAY_LINKS) == []


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_a_close_of_nothing_is_acknowledged_as_nothing_to_do(generation: int) -> None:  # recovery R5
    bench = at_home()
    bench.tell(CloseRelayed(peer=ALICE, generation=generation))
    done = RelayedCloseDone(peer=ALICE, generation=generation)
    assert bench.mail(peer_addresses(ALICE).relay_worker) == [done]


def test_an_older_close_does_not_close_the_newer_connection() -> None:
    bench = at_home()
    bench.tell(wanted(generation=5))
    bench.mail(RELAY_LINKS)
    bench.tell(CloseRelayed(peer=ALICE, generation=4))
    assert bench.mail(RELAY_LINKS) == []
    assert len(bench.mail(peer_addresses(ALICE).relay_worker)) == 1


def test_a_close_of_whatever_there_is_closes_it() -> None:  # recovery R3
    bench = at_home()
    bench.tell(wanted(generation=5))
    bench.mail(RELAY_LINKS)
    bench.tell(CloseRelayed(peer=ALICE, generation=0))
    assert bench.mail(RELAY_LINKS) == [CloseOnLink(peer=ALICE, generation=5, link=FIRST)]
    assert bench.mail(peer_addresses(ALICE).relay_worker) == [RelayedCloseDone(peer=ALICE, generation=0)]


def test_an_opening_closes_what_an_earlier_worker_of_the_peer_left() -> None:
    bench = at_home()
    bench.tell(wanted(generation=5), wanted(generation=9))
    assert bench.mail(RELAY_LINKS) == [
        OpenOnLink(peer=ALICE, generation=5, link=FIRST),
        CloseOnLink(peer=ALICE, generation=5, link=FIRST),
        OpenOnLink(peer=ALICE, generation=9, link=FIRST),
    ]


def test_a_peer_that_is_not_configured_gets_nothing_opened_and_loses_what_it_had() -> None:
    bench = at_home()
    bench.tell(wanted(), KnownPeers(peers=frozenset({BOB})))
    assert bench.mail(RELAY_LINKS)[-1] == CloseOnLink(peer=ALICE, generation=1, link=FIRST)
    bench.tell(wanted(generation=2))
    assert bench.mail(RELAY_LINKS) == []
    [failed] = bench.mail(peer_addresses(ALICE).relay_worker)
    assert isinstance(failed, RelayedFailed)


# --- foreign links ---


def test_a_foreign_link_that_nobody_uses_is_closed_after_a_while() -> None:
    bench = at_home()
    bench.tell(wanted(ALICE, 1, FOREIGN))
    [dial] = dials(bench)
    bench.tell(opened(dial.link, FOREIGN))
    bench.advance(10 * UNUSED_S)
    bench.mail(RELAY_LINKS)
    bench.tell(CloseRelayed(peer=ALICE, generation=1))
    bench.mail(RELAY_LINKS)
    bench.advance(UNUSED_S - 1)
    assert bench.mail(RELAY_LINKS) == []
    bench.advance(1.1)
    assert bench.mail(RELAY_LINKS) == [CloseLink(link=dial.link)]


def test_a_home_that_nobody_uses_stays() -> None:
    bench = at_home()
    bench.advance(10 * UNUSED_S)
    assert bench.mail(RELAY_LINKS) == []


def test_foreign_servers_are_bounded_and_unused_ones_make_room() -> None:
    bench = at_home()
    keys = [PublicKey(encode_key(number.to_bytes(32, "big"))) for number in range(MAX_FOREIGN + 1)]
    bench.tell(*(wanted(key, 1, f"rel://server{number}.test:80") for number, key in enumerate(keys)))
    assert len(dials(bench)) == MAX_FOREIGN
    [failed] = bench.mail(peer_addresses(keys[-1]).relay_worker)
    assert isinstance(failed, RelayedFailed)
    bench.tell(refused(FIRST + 1), CloseRelayed(peer=keys[0], generation=1))
    bench.tell(wanted(keys[-1], 2, "rel://one-more.test:80"))
    assert [dial.url for dial in dials(bench)] == ["rel://one-more.test:80"]


def test_two_urls_of_one_server_do_not_displace_each_other_for_ever() -> None:  # relay spec 8, item 20
    bench = at_home()
    bench.tell(wanted(ALICE, 1, "rel://HOME.test"))
    [dial] = dials(bench)
    bench.tell(opened(dial.link, HOME))  # a second login there: the server drops the first
    sent = bench.mail(RELAY_LINKS)
    assert CloseLink(link=FIRST) in sent
    assert OpenOnLink(peer=ALICE, generation=1, link=dial.link) in sent
    assert bench.state == Homed("rel://HOME.test", HOME)
    bench.tell(lost(FIRST), wanted(BOB, 2, HOME), wanted(ALICE, 3, "rel://HOME.test"))
    assert {mail.link for mail in bench.mail(RELAY_LINKS) if isinstance(mail, OpenOnLink)} == {dial.link}
    bench.advance(100)
    assert dials(bench) == []


def test_who_waited_for_a_name_that_the_server_does_not_have_any_more_is_served_elsewhere() -> None:
    bench = Bench(Relays(("rel://lb.test:80",), (CONTROL_0,), rng=Random(1), first_link=FIRST))
    bench.tell(NOTHING, opened(FIRST, "rel://node1.test:80"))
    bench.tell(lost(FIRST), wanted(ALICE, 1, "rel://node1.test:80"))
    bench.advance(0.5)
    [dial] = dials(bench)[-1:]
    bench.tell(opened(dial.link, "rel://node2.test:80"))
    assert [dial.url for dial in dials(bench)] == ["rel://node1.test:80"]


# --- restarts ---


def test_links_that_outlived_the_control_process_are_taken_over() -> None:
    bench = Bench(Relays((HOME, SECOND), (CONTROL_0,), rng=Random(1), first_link=FIRST))
    assert bench.mail(RELAY_LINKS) == [RelayLinksSnapshotWanted()]
    snapshot = RelayLinksSnapshot(
        links=(
            LinkSnapshot(link=7, url=HOME, instance_url=HOME),
            LinkSnapshot(link=8, url=FOREIGN, instance_url=FOREIGN),
            LinkSnapshot(link=9, url="rel://dialling.test:80", instance_url=None),
        ),
        connections=(
            RelayedSnapshot(peer=ALICE, generation=70, link=7, open=True),
            RelayedSnapshot(peer=BOB, generation=71, link=8, open=True),
            RelayedSnapshot(peer=CAROL, generation=72, link=7, open=True),
        ),
    )
    bench.tell(KnownPeers(peers=frozenset({ALICE, BOB})), wanted(BOB, 80, FOREIGN), snapshot)
    assert bench.state == Homed(HOME, HOME)
    assert bench.mail(RELAY_LINKS) == [
        CloseOnLink(peer=BOB, generation=71, link=8),  # its worker has begun anew
        CloseOnLink(peer=CAROL, generation=72, link=7),  # taken out of the configuration meanwhile
        OpenOnLink(peer=BOB, generation=80, link=8),
        CloseLink(link=9),
    ]
    assert bench.mail(PEERS)[-1] == snapshot  # after the home relay, so that peers are started with it
    bench.tell(CloseRelayed(peer=ALICE, generation=70), CloseRelayed(peer=BOB, generation=80))
    assert bench.mail(RELAY_LINKS) == [
        CloseOnLink(peer=ALICE, generation=70, link=7),
        CloseOnLink(peer=BOB, generation=80, link=8),
    ]
    bench.advance(UNUSED_S)
    assert bench.mail(RELAY_LINKS) == [CloseLink(link=8)]


def test_an_opening_goes_on_when_relays_is_made_anew() -> None:
    bench = Bench(Relays((HOME,), (CONTROL_0,), rng=Random(1), first_link=FIRST))
    bench.mail(RELAY_LINKS)
    links = (LinkSnapshot(link=7, url=HOME, instance_url=HOME),)
    under_way = RelayedSnapshot(peer=ALICE, generation=70, link=7, open=False)
    bench.tell(RelayLinksSnapshot(links=links, connections=(under_way,)))
    assert bench.mail(RELAY_LINKS) == []
    bench.tell(wanted(ALICE, 80))  # if control as a whole was, its worker begins anew
    assert bench.mail(RELAY_LINKS) == [
        CloseOnLink(peer=ALICE, generation=70, link=7),
        OpenOnLink(peer=ALICE, generation=80, link=7),
    ]


def test_the_home_stays_when_relays_is_made_anew() -> None:  # else every pair that meets there would move (R2)
    bench = Bench(Relays((HOME, SECOND), (CONTROL_0,), rng=Random(1), first_link=FIRST))
    links = (
        LinkSnapshot(link=9, url=HOME, instance_url=HOME),  # it was away when SECOND became home
        LinkSnapshot(link=8, url=SECOND, instance_url=SECOND),
    )
    bench.tell(RelayLinksSnapshot(links=links, connections=()))
    assert bench.state == Homed(SECOND, SECOND)


def test_without_a_word_from_the_packet_process_it_begins_all_the_same() -> None:
    bench = Bench(Relays((HOME,), (CONTROL_0,), rng=Random(1), first_link=FIRST))
    bench.tell(wanted())
    assert isinstance(bench.state, Starting)
    bench.advance(SNAPSHOT_S)
    [dial] = dials(bench)
    bench.tell(opened(dial.link))
    assert bench.mail(RELAY_LINKS) == [OpenOnLink(peer=ALICE, generation=1, link=dial.link)]


def test_a_snapshot_that_peers_asked_for_is_passed_on_and_changes_nothing() -> None:
    bench = at_home()
    bench.tell(NOTHING)
    assert bench.tags() == ["RelayLinksSnapshot"]
    assert isinstance(bench.state, Homed)


def test_with_the_packet_process_every_link_is_gone_and_dialled_again_at_once() -> None:
    bench = at_home()
    bench.tell(wanted())
    bench.mail(RELAY_LINKS)
    bench.tell(ProcessRestarted(process=PACKET, incarnation=2))
    assert bench.mail(PEERS) == [HomeRelayChanged(url=None, server_ip=None)]
    assert [dial.url for dial in dials(bench)] == [HOME]
    bench.tell(CloseRelayed(peer=ALICE, generation=1))
    assert len(bench.mail(peer_addresses(ALICE).relay_worker)) == 1


def test_mail_that_went_missing_is_answered_by_taking_over_what_there_is() -> None:
    bench = at_home()
    bench.tell(ProcessRestarted(process=PACKET, incarnation=1))
    assert bench.mail(RELAY_LINKS) == [RelayLinksSnapshotWanted()]
    bench.tell(RelayLinksSnapshot(links=(LinkSnapshot(link=FIRST, url=HOME, instance_url=HOME),), connections=()))
    assert dials(bench) == []
    assert bench.state == Homed(HOME, HOME)


# --- status ---


def test_the_operator_sees_each_server_that_matters_on_changes_only() -> None:
    bench = bench_of(HOME, SECOND)

    def shown() -> list[tuple[str, str, str]]:
        last = bench.mail(STATUS)[-1]
        assert isinstance(last, RelaysStatus)
        return [(link.url, link.role, link.state) for link in last.links]

    assert shown() == [(HOME, "home", "connecting"), (SECOND, "home", "connecting")]
    bench.tell(refused(FIRST))
    assert shown() == [(HOME, "home", "waiting"), (SECOND, "home", "connecting")]
    bench.tell(opened(FIRST + 1, SECOND))
    assert shown() == [(SECOND, "home", "connected")]
    bench.tell(wanted(url=FOREIGN))
    assert shown() == [(SECOND, "home", "connected"), (FOREIGN, "foreign", "connecting")]
    bench.tell(wanted(BOB, 2, FOREIGN))
    assert bench.mail(STATUS) == []


# --- whatever comes ---

URLS = [HOME, SECOND, FOREIGN]
STEPS = st.one_of(
    st.tuples(st.just("want"), st.sampled_from([ALICE, BOB]), st.sampled_from(URLS)),
    st.tuples(st.just("close"), st.sampled_from([ALICE, BOB]), st.sampled_from(["", "old", "any"])),
    st.tuples(st.sampled_from(["open", "refuse", "lose"]), st.integers(0, 3), st.sampled_from(URLS)),
    st.tuples(st.just("time"), st.sampled_from([0.2, 2.0, 35.0, 70.0]), st.none()),
    st.tuples(st.sampled_from(["packet", "gap", "snapshot"]), st.none(), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_every_opening_and_close_has_an_end(steps: list[tuple[str, object, object]]) -> None:
    relays = Relays((HOME, SECOND), (CONTROL_0,), rng=Random(1), first_link=FIRST, packet_incarnation=1)
    bench, generation, incarnation = Bench(relays), 0, 1
    live: list[tuple[int, str]] = []  # links that the packet process dials or holds
    owed: set[tuple[PublicKey, int]] = set()  # closes without acknowledgement

    def look() -> None:
        for mail in bench.mail(RELAY_LINKS):
            match mail:
                case OpenLink(link=link, url=url):
                    assert link not in dict(live)
                    live.append((link, url))
                case CloseLink(link=link):
                    live[:] = [entry for entry in live if entry[0] != link]
                case OpenOnLink(link=link):
                    assert link in dict(live), "opened on a link that is gone"
                case CloseOnLink(peer=peer, generation=number):
                    owed.discard((peer, number))
        for peer in (ALICE, BOB):
            for mail in bench.mail(peer_addresses(peer).relay_worker):
                if isinstance(mail, RelayedCloseDone):
                    owed.discard((peer, mail.generation))
        assert not owed
        homed = isinstance(relays.state, Homed)
        busy = any(server.waiting or isinstance(server.link, Dialling) for server in relays._servers.by_url.values())
        assert not (busy or not homed) or LinkRetryDue in bench.timers
        for server in relays._servers.by_url.values():
            assert not (server.waiting and isinstance(server.link, Up))

    bench.tell(NOTHING)
    look()
    for step, one, other in steps:
        match step, one, other:
            case "want", str() as peer, str() as url:
                generation += 1
                bench.tell(wanted(PublicKey(peer), generation, url))
            case "close", str() as peer, kind:
                number = {"": generation, "old": generation - 1, "any": 0}[str(kind)]
                owed.add((PublicKey(peer), number))
                bench.tell(CloseRelayed(peer=PublicKey(peer), generation=number))
            case "open", int() as index, str() as url if index < len(live):
                bench.tell(opened(live[index][0], url))
            case (("refuse" | "lose"), int() as index, _) if index < len(live):
                link, _ = live.pop(index)
                bench.tell(refused(link) if step == "refuse" else lost(link))
            case "time", float() as seconds, _:
                bench.advance(seconds)
            case "packet", _, _:
                incarnation, live = incarnation + 1, []
                bench.tell(ProcessRestarted(process=PACKET, incarnation=incarnation))
            case "gap", _, _:
                bench.tell(ProcessRestarted(process=PACKET, incarnation=incarnation), NOTHING)
            case "snapshot", _, _:
                bench.tell(NOTHING)
        look()


# --- what carries the links ---


@pytest.mark.parametrize("fault", ["", "the path carries 1,200 bytes only"])
def test_status_tells_what_carries_a_link_and_why_it_is_not_quic(fault: str) -> None:
    bench = bench_of(HOME)
    bench.mail(STATUS)
    bench.tell(over_quic(FIRST, fault))
    *_, told = bench.mail(STATUS)
    assert isinstance(told, RelaysStatus)
    (link,) = told.links
    assert (link.transport, link.quic_fault) == ("ws" if fault else "quic", fault)
    bench.tell(LinkClosed(link=FIRST, reason="reset", was_open=True))
    *_, told = bench.mail(STATUS)
    assert isinstance(told, RelaysStatus)
    assert (told.links[0].transport, told.links[0].quic_fault) == (None, "")


def test_what_carries_a_link_outlives_the_control_process() -> None:
    bench = Bench(Relays((HOME,), (CONTROL_0,), rng=Random(1), first_link=FIRST, packet_incarnation=1))
    link = LinkSnapshot(link=4, url=HOME, instance_url=HOME, server_ip="192.0.2.7", transport="quic")
    bench.tell(RelayLinksSnapshot(links=(link,), connections=()))
    *_, told = bench.mail(STATUS)
    assert isinstance(told, RelaysStatus)
    assert told.links[0].transport == "quic"


def test_a_server_is_away_since_it_was_lost_however_often_it_is_dialled() -> None:
    bench = at_home()
    bench.advance(50.0)
    lost_at = bench.now
    bench.tell(LinkClosed(link=FIRST, reason="connection reset", was_open=True))
    ages = set()
    for _ in range(6):
        bench.advance(5.0)
        for dial in bench.mail(RELAY_LINKS):
            bench.tell(refused(dial.link))
        (link,) = bench.mail(STATUS)[-1].links
        ages.add(link.since_at)
    assert ages == {lost_at}

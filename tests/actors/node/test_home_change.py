"""A home relay that answers its clients and carries nothing."""

from random import Random

from actors.addresses import CONTROL_0, PEERS, RELAY_LINKS
from actors.messages.node import ChangeHome, HomeRelayChanged, OpenRelayed
from actors.messages.packet import CloseLink, OpenLink
from actors.node.home_states import Homed
from actors.node.relays import AVOIDED_S, Relays
from tests.actors.node.test_relays import BOB, FIRST, HOME, NOTHING, SECOND, bench_of, dials, opened
from tests.kit.bench import Bench


def test_a_home_that_carries_nothing_gives_way_to_another() -> None:  # recovery R11
    relays = Relays((HOME, SECOND), (CONTROL_0,), rng=Random(1), first_link=FIRST, packet_incarnation=1)
    bench = Bench(relays)
    bench.tell(NOTHING, opened(FIRST), OpenRelayed(peer=BOB, generation=1, url=HOME))
    bench.tags()
    bench.tell(ChangeHome())
    asked = bench.mail(RELAY_LINKS)
    assert asked[0] == CloseLink(link=FIRST)
    [dial] = [mail for mail in asked if isinstance(mail, OpenLink)]
    assert dial.url == SECOND
    assert bench.mail(PEERS) == [HomeRelayChanged(url=None, server_ip=None)]
    bench.tell(opened(dial.link, SECOND))
    assert bench.state == Homed(SECOND, SECOND)
    bench.advance(2 * AVOIDED_S)
    assert dials(bench) == []
    assert relays.counters == {"home_changes": 1}


def test_it_is_home_again_if_no_other_accepts_us() -> None:
    bench = bench_of(HOME, SECOND)
    bench.tell(opened(FIRST), ChangeHome())
    bench.advance(AVOIDED_S)
    again = [dial for dial in dials(bench) if dial.url == HOME][-1]
    bench.tell(opened(again.link))
    assert bench.state == Homed(HOME, HOME)


def test_the_only_relay_is_kept() -> None:
    bench = bench_of()
    bench.tell(opened(FIRST), ChangeHome())
    assert bench.state == Homed(HOME, HOME)

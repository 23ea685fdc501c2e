"""How long the dial of a relay server may take, and where it leads."""

import msgspec

from actors.addresses import RELAY_LINKS
from actors.messages.packet import CloseLink
from actors.node.relay_server import DIAL_S
from tests.actors.node.test_relays import FIRST, FOREIGN, at_home, bench_of, next_dials, refused, wanted


def test_a_dial_that_nobody_answers_is_given_up_the_first_soon() -> None:  # the NAT may have changed since
    bench = bench_of()
    bench.mail(RELAY_LINKS)
    for number, limit_s in enumerate([*DIAL_S, DIAL_S[-1]]):
        bench.advance(limit_s - 0.1)
        assert bench.mail(RELAY_LINKS) == []
        bench.advance(0.1)
        assert bench.mail(RELAY_LINKS) == [CloseLink(link=FIRST + number)]
        next_dials(bench)


def test_the_address_that_remotes_tell_of_a_server_is_dialled_each_second_time() -> None:  # it may be silent for ever
    bench = at_home()
    bench.tell(msgspec.structs.replace(wanted(url=FOREIGN), server_ip="192.0.2.7"))
    found = []
    for _ in range(4):
        [dial] = next_dials(bench)
        found.append(dial.server_ip)
        bench.tell(refused(dial.link))
    assert found == ["192.0.2.7", None] * 2

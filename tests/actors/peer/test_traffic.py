"""Traffic is told from keepalives, handshakes and probes by how often a path is heard."""

from actors.peer.traffic import HEARD, LULL_S, WITHIN_S, Traffic


def heard_at(*times: float) -> Traffic:
    traffic = Traffic()
    for at in times:
        traffic.heard(at)
    return traffic


def test_keepalives_are_no_traffic() -> None:
    traffic = Traffic()
    for at in range(0, 1000, 25):
        traffic.heard(at)
        assert not traffic.busy(at)


def test_nor_is_a_handshake_or_a_probe_beside_them() -> None:
    assert not heard_at(0.0, 25.0, 25.1).busy(25.1)


def test_a_report_a_second_is() -> None:
    assert heard_at(0.0, 1.0, 2.0).busy(2.0)
    assert heard_at(0.0, WITHIN_S / 2, WITHIN_S).busy(WITHIN_S)
    assert not heard_at(0.0, WITHIN_S / 2, WITHIN_S + 0.1).busy(WITHIN_S + 0.1)


def test_it_ends_after_a_lull() -> None:
    traffic = heard_at(*range(HEARD))
    last = HEARD - 1
    assert traffic.busy(last + LULL_S - 0.1)
    assert not traffic.busy(last + LULL_S)
    traffic.heard(last + LULL_S)
    assert not traffic.busy(last + LULL_S)  # one report does not bring it back

from tests.simulator.canonical import canonical
from tests.simulator.exhaustive import connected
from tests.simulator.two_sides import Event, Two
from transport.signal.messages import HomingFields


def after(*events: Event) -> Two:
    two = connected()
    for event in events:
        two.happen(event)
    return two


def test_what_commutes_leads_to_one_state() -> None:
    one, other = (0, "relayed path dead"), (1, "relayed path dead")
    assert after(one, other).digest() == after(other, one).digest()
    assert after(one).digest() != after(other).digest()


def test_of_numbers_only_the_order_counts() -> None:
    def said(first: int, second: int) -> bytes:
        return canonical([HomingFields(offer_id=first), HomingFields(offer_id=second)])

    assert said(7, 9) == said(100, 1000)
    assert said(7, 9) != said(9, 7)
    assert said(7, 9) != said(7, 7)
    assert said(0, 7) != said(7, 9)  # 0 is none


def test_of_random_bytes_only_the_sameness_counts() -> None:
    assert canonical([b"a", b"b", b"a"]) == canonical([b"x", b"y", b"x"])
    assert canonical([b"a", b"b", b"a"]) != canonical([b"a", b"b", b"b"])

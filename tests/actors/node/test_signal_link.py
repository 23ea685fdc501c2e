from actors.messages.node import KnownPeers, SignalLinkDoubted, SignalLinkWanted
from actors.node.signal_link import SignalLink
from config.keys import PublicKey
from transport.signal.messages import PostCandidate, SignalPost

BOB = PublicKey("B" * 43 + "=")


class Driver:
    """Takes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.counters = {"sent": 3}

    def post(self, post: SignalPost) -> None:
        self.asked.append(post)

    def know(self, peers: frozenset[PublicKey]) -> None:
        self.asked.append(peers)

    def repeat(self) -> None:
        self.asked.append("repeat")

    def doubt(self) -> None:
        self.asked.append("doubt")


def test_mail_is_handed_to_the_driver_as_it_is() -> None:
    driver, post = Driver(), PostCandidate(peer=BOB, candidate="c")
    machine = SignalLink(driver)
    for message in (post, KnownPeers(peers=frozenset({BOB})), SignalLinkWanted(), SignalLinkDoubted(reason="resumed")):
        assert machine.handle(message, 1.0) == []
    assert driver.asked == [post, frozenset({BOB}), "repeat", "doubt"]


def test_what_the_client_counts_is_its_count() -> None:
    assert SignalLink(Driver()).counters == {"sent": 3}

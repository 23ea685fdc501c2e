import msgspec

from actors.addresses import AGENT, CONTROL_0, RELAYS, process_actor
from actors.messages.node import ChangeHome, PeerForgotten
from actors.messages.process import RebindWanted, SaveSnapshot
from actors.messages.status import ControlStatus, PeerStatus, RelayLinkStatus, RelaysStatus, SignalStatus
from actors.node.home_ladder import FIRST_S
from actors.node.rebind_ladder import FIRST_S as REBIND_S
from actors.node.status import SNAPSHOT_S, Status
from config.keys import PublicKey, encode_key
from tests.kit.bench import Bench

WRITER = process_actor(CONTROL_0)
KEYS = [PublicKey(encode_key(number.to_bytes(32, "big"))) for number in range(1000)]
SIGNAL_UP = SignalStatus(url="http://signal.test", connected=True)
NO_RELAYS = RelaysStatus(links=())


def peer(key: PublicKey, reason: str = "") -> PeerStatus:
    return PeerStatus(peer=key, name="bob", state="connecting", path=None, reason=reason)


def written(bench: Bench) -> list[ControlStatus]:
    return [
        msgspec.json.decode(mail.document, type=ControlStatus)
        for mail in bench.mail(WRITER)
        if isinstance(mail, SaveSnapshot)
    ]


def test_the_newest_of_everything_is_written_each_second() -> None:
    bench = Bench(Status(CONTROL_0))
    bench.advance(0)
    assert written(bench) == [ControlStatus()]
    bench.tell(peer(KEYS[0]), peer(KEYS[1]), peer(KEYS[0], "no relay"), SIGNAL_UP, NO_RELAYS)
    assert written(bench) == []
    bench.advance(SNAPSHOT_S)
    everything = ControlStatus(peers=(peer(KEYS[0], "no relay"), peer(KEYS[1])), signal=SIGNAL_UP, relays=NO_RELAYS)
    assert written(bench) == [everything]
    bench.advance(5 * SNAPSHOT_S)
    assert written(bench) == [everything] * 5  # its age says that control is alive


def test_a_forgotten_peer_is_not_shown() -> None:
    bench = Bench(Status(CONTROL_0))
    bench.tell(peer(KEYS[0]), PeerForgotten(peer=KEYS[0]), PeerForgotten(peer=KEYS[1]))
    bench.advance(SNAPSHOT_S)
    assert written(bench)[-1].peers == ()


def test_with_a_thousand_peers_a_document_is_encoded_only_when_something_changed() -> None:
    status = Status(CONTROL_0)
    bench = Bench(status)
    bench.tell(*(peer(key) for key in KEYS))
    bench.advance(SNAPSHOT_S)
    [*_, first] = bench.mail(WRITER)
    bench.advance(SNAPSHOT_S)
    [second] = bench.mail(WRITER)
    assert len(msgspec.json.decode(second.document, type=ControlStatus).peers) == 1000
    assert second.document is first.document
    bench.tell(peer(KEYS[0], "no relay"))
    bench.advance(SNAPSHOT_S)
    [third] = bench.mail(WRITER)
    assert third.document != second.document


def test_relays_hears_when_nothing_comes_over_the_home_from_anybody() -> None:  # recovery R11
    bench = Bench(Status(CONTROL_0))
    home = RelayLinkStatus(url="rel://home.test:80", role="home", state="connected")
    met = PeerStatus(peer=KEYS[0], name="bob", state="connecting", path="relayed", relay_url=home.url)
    bench.tell(RelaysStatus(links=(home,)), met)
    bench.advance(FIRST_S - SNAPSHOT_S)
    assert bench.mail(RELAYS) == []
    bench.advance(2 * SNAPSHOT_S)
    assert bench.mail(RELAYS) == [ChangeHome()]


def test_the_supervisor_hears_when_nobody_is_proven_for_long_though_there_is_network() -> None:  # recovery R11
    bench = Bench(Status(CONTROL_0))
    missed = PeerStatus(peer=KEYS[0], name="bob", state="connecting", path=None, answers=True)
    bench.tell(SignalStatus(url="http://signal.test", connected=False), missed)
    bench.advance(REBIND_S + 2 * SNAPSHOT_S)
    assert bench.mail(AGENT) == []
    bench.tell(SignalStatus(url="http://signal.test", connected=True))
    bench.advance(REBIND_S - SNAPSHOT_S)
    assert bench.mail(AGENT) == []
    bench.advance(3 * SNAPSHOT_S)
    bench.advance(REBIND_S)
    asked = [mail.elsewhere for mail in bench.mail(AGENT) if isinstance(mail, RebindWanted)]
    assert asked == [True, False]  # another port, and soon the configured one again


def test_the_time_that_the_machine_slept_climbs_no_rung() -> None:
    bench = Bench(Status(CONTROL_0))
    home = RelayLinkStatus(url="rel://home.test:80", role="home", state="connected")
    met = PeerStatus(peer=KEYS[0], name="bob", state="connecting", path="relayed", relay_url=home.url, ours=True)
    bench.tell(SignalStatus(url="http://signal.test", connected=True), RelaysStatus(links=(home,)), met)
    bench.advance(5.0)
    bench.now += 28800.0
    bench.advance(FIRST_S - 10.0)
    assert bench.mail(RELAYS) == bench.mail(AGENT) == []
    bench.advance(10.0)
    assert bench.mail(RELAYS) == [ChangeHome()]

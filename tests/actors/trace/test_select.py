import pytest

from actors.messages.packet import RelayLinksSnapshotWanted, RemovePeer
from actors.messages.process import Ping
from actors.trace.select import CAP_WINDOW_S, Cap, Selection, newest, tag_of
from tests.actors.trace.records import NOW, record
from tests.config.samples import BOB, CAROL


def test_everything_is_wanted_without_a_filter() -> None:
    assert Selection().admits(record())
    assert Selection().admits(record(kind="dropped", reason="over its bound", tag="", body=b""))


def test_by_peer_means_receiver_sender_or_a_field() -> None:
    about_bob = Selection(peers=frozenset({BOB}))
    assert about_bob.admits(record())
    assert about_bob.admits(record(to="relays", sender=f"peer/{BOB}/relay_worker@control-0", body=b""))
    assert about_bob.admits(record(RemovePeer(peer=BOB), to="tunnels"))
    assert not about_bob.admits(record(RemovePeer(peer=CAROL), to="tunnels"))
    assert not about_bob.admits(record(RelayLinksSnapshotWanted(), to="relay_links"))
    assert not about_bob.admits(record(to="tunnels", body=b"\xff" + BOB.encode()))


def test_by_type() -> None:
    assert Selection(types=frozenset({"relayed_opened", "relay_lost"})).admits(record())
    assert not Selection(types=frozenset({"relay_lost"})).admits(record())


@pytest.mark.parametrize("actor", ["relay_worker", f"peer/{BOB}/relay_worker", "relay_links"])
def test_by_actor_means_receiver_or_sender(actor: str) -> None:
    assert Selection(actor=actor).admits(record())
    assert not Selection(actor=actor).admits(record(to="status", sender="conn@control-0"))


def test_by_loss() -> None:
    assert not Selection(lost=True).admits(record())
    assert Selection(lost=True).admits(record(kind="dead_letter"))


def test_the_heartbeat_is_left_out_only_where_it_is_well() -> None:
    quiet = Selection(heartbeat=False)
    assert quiet.admits(record())
    assert not quiet.admits(record(Ping(token=1)))
    assert quiet.admits(record(Ping(token=1), kind="dead_letter"))
    assert Selection().admits(record(Ping(token=1)))


def test_all_filters_must_agree() -> None:
    assert not Selection(peers=frozenset({BOB}), types=frozenset({"relay_lost"})).admits(record())


@pytest.mark.parametrize("text", ["OfferReceived", "offer_received", " offer_received ", "OFFER_RECEIVED"])
def test_types_are_named_by_tag_or_class(text: str) -> None:
    assert tag_of(text) == "offer_received"


def test_the_newest_come_in_the_order_of_time() -> None:
    records = [record(at=NOW + offset, id=number) for number, offset in enumerate((3.0, 1.0, 2.0, 2.0))]
    assert [one.id for one in newest(records, None)] == [1, 2, 3, 0]
    assert [one.id for one in newest(records, 2)] == [3, 0]
    assert len(newest(records, 99)) == 4


def test_the_cap_counts_what_it_holds_back() -> None:
    cap = Cap(2)
    assert [cap.admits(NOW + 0.1 * number) for number in range(4)] == [True, True, False, False]
    assert cap.take_suppressed(NOW + 0.5) == 0
    assert cap.take_suppressed(NOW + CAP_WINDOW_S) == 2
    assert cap.take_suppressed(NOW + CAP_WINDOW_S) == 0
    assert cap.admits(NOW + CAP_WINDOW_S)


def test_the_cap_says_at_the_end_what_is_left() -> None:
    cap = Cap(1)
    assert [cap.admits(NOW), cap.admits(NOW)] == [True, False]
    assert cap.take_suppressed(NOW, end=True) == 1

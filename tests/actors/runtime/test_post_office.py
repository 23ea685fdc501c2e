"""Mail between actors, in one process and across two, on real sockets."""

from typing import Any, ClassVar

import pytest

from actors.effects import Cancel, Effect, Later, Send
from actors.messages.envelope import WIRE_VERSION, FramePacker
from actors.messages.peer import RelayEvidence
from actors.messages.process import GapFound, StopActor
from actors.runtime import links
from actors.runtime.post_office import TURN_FRAMES
from actors.runtime.supervision import ActorsFailing
from config.keys import PublicKey
from tests.actors.runtime.town import Collector, Doing, LookDue, Note, Poke, here, town
from transport.drivers.zmq import NameTaken, Sender, ipc, mail_name
from wg.reports import PathHeard

BOB = PublicKey("bob")


def test_mail_reaches_its_actor_in_order() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)
        for number in range(1000):
            office.post(here("collector"), Note(number=number))
        place.settle()
        assert collector.numbers == list(range(1000))
        assert office.status().delivered == 1000


def test_what_a_machine_sends_arrives() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)
        office.add("poked", Doing(lambda message, now: [here("collector").send(Note(number=7))]))
        office.post(here("poked"), Poke())
        place.settle()
        assert collector.heard == [Note(number=7)]


def test_mail_crosses_to_another_process_and_back() -> None:
    with town() as place:
        control, packet = place.pair()
        collector = Collector()
        control.add("collector", collector)
        packet.add("echo", Doing(lambda message, now: [here("collector").send(message)]))
        for number in range(5000):
            control.post(here("echo", "packet"), Note(number=number))
        place.until(lambda: len(collector.heard) == 5000)
        assert collector.numbers == list(range(5000))
        assert control.status().gaps == packet.status().gaps == 0


def test_mail_waits_for_a_process_that_is_not_there_yet() -> None:
    with town() as place:
        control, collector = place.office("control-0"), Collector()
        control.connect("packet", 1)
        control.post(here("collector", "packet"), Note(number=1))
        place.settle()
        place.office("packet").add("collector", collector)
        place.until(lambda: collector.numbers == [1])


def test_effects_of_a_handler_that_raises_are_none() -> None:
    def half_done(message: Any, now: float) -> list[Effect]:
        effects: list[Effect] = [here("collector").send(Note(number=1))]
        assert not effects, "it breaks after it decided"
        return effects

    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)
        office.add("broken", Doing(half_done), remake=lambda: Doing(half_done))
        office.post(here("broken"), Poke())
        place.settle()
        assert collector.heard == []


def test_a_type_outside_the_inbox_is_a_dead_letter() -> None:
    with town() as place:
        office = place.office()
        office.add("collector", Collector())
        office.post(here("collector"), RelayEvidence(peer=BOB, generation=1, reason=""))
        place.settle()
        assert office.status().dead_letters == {"not in its inbox": 1}


def test_an_unknown_type_an_unknown_actor_and_an_unknown_process_are_dead_letters() -> None:
    with town() as place:
        office = place.office()
        office.add("collector", Collector())
        office.post(here("collector"), Poke())
        office.post(here("nobody"), Poke())
        office.post(here("collector", "elsewhere"), Poke())
        place.settle()
        expected = {"unknown message type": 1, "unknown actor": 1, "no link": 1}
        assert office.status().dead_letters == expected
        assert [record.kind for record in office.ring().records] == ["dead_letter"] * 3


def test_a_timer_comes_at_its_time() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)

        def later(message: Any, now: float) -> list[Effect]:
            if isinstance(message, Poke):
                return [Later(now + 5.0, LookDue(number=1))]
            return [here("collector").send(message)]

        office.add("timed", Doing(later))
        office.post(here("timed"), Poke())
        place.settle()
        assert office.next_at() == place.clock.now + 5.0
        place.clock.now += 4.9
        place.settle()
        assert collector.heard == []
        place.clock.now += 0.1
        place.settle()
        assert collector.heard == [LookDue(number=1)]


def test_a_timer_cancelled_while_it_lies_in_the_mailbox_does_not_come() -> None:
    with town() as place:
        office = place.office()
        seen: list[Any] = []

        def does(message: Any, now: float) -> list[Effect]:
            seen.append(message)
            return [Cancel(LookDue)] if isinstance(message, Note) else []

        office.add("timed", Doing(does, first=[Later(place.clock.now + 1.0, LookDue())]))
        office.post(here("timed"), Note(number=1))  # before the timer in the same mailbox
        place.clock.now += 1.0
        place.settle()
        assert seen == [Note(number=1)]
        assert "stale_timer" in [record.kind for record in office.ring().records]


def test_a_timer_keeps_the_trace_of_who_set_it() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)

        def does(message: Any, now: float) -> list[Effect]:
            if isinstance(message, Poke):
                return [Later(now + 1.0, LookDue())]
            return [here("collector").send(Note(number=1))]

        office.add("timed", Doing(does))
        office.post(here("timed"), Poke())
        place.settle()
        place.clock.now += 1.0
        place.settle()
        poke, due, note = office.ring().records
        assert [poke.tag, due.tag, note.tag] == ["poke", "look_due", "note"]
        assert poke.trace == due.trace == note.trace == poke.id
        assert (due.cause, note.cause) == (poke.id, due.id)
        assert poke.sent_first <= due.id < poke.sent_first + poke.sent_count


def test_a_machine_that_mails_itself_for_ever_does_not_stop_the_others() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)
        office.add("restless", Doing(lambda message, now: [here("restless").send(message)]))
        office.post(here("restless"), Poke())
        for number in range(10):
            office.post(here("collector"), Note(number=number))
        place.until(lambda: len(collector.heard) == 10)


def test_an_explosion_of_mail_is_bounded_refused_and_ends_the_process_not_the_thread() -> None:
    def doubles(message: Any, now: float) -> list[Effect]:
        return [here("doubling").send(Note(number=0)) for _ in range(2)]

    with town() as place:
        office = place.office()
        own = office.dispatch.links["control-0"]
        own.soft, own.hard = 500, 1000
        office.add("doubling", Doing(doubles))
        office.post(here("doubling"), Note(number=0))
        place.until(lambda: office.wards.fatal is not None)
        assert len(own.outbox) <= own.hard
        assert office.status().overflow["note refused"] > 0
        with pytest.raises(ActorsFailing, match="among our own actors were lost"):
            office.run(lambda: False)


def test_a_silent_process_holds_up_nobody_and_costs_bounded_memory() -> None:
    with town() as place:
        control, collector = place.office("control-0"), Collector()
        control.add("collector", collector)
        control.connect("packet", 1)  # nobody is there
        for number in range(links.HARD_LIMIT + links.BATCH * 400):
            control.post(here("x", "packet"), Note(number=number))
            if number % 1000 == 0:
                control.turn()
        control.post(here("collector"), Note(number=1))
        place.until(lambda: collector.numbers == [1])
        assert len(control.dispatch.links["packet"].outbox) <= links.HARD_LIMIT
        assert control.status().overflow["note refused"] > 0


def test_state_that_piles_up_on_a_link_is_coalesced_and_its_newest_arrives() -> None:
    class Hearing(Collector):
        inbox: ClassVar[Any] = PathHeard | Note

    with town() as place:
        control, hearing = place.office("control-0"), Hearing()
        control.connect("packet", 1)
        link = control.dispatch.links["packet"]
        link.soft = 10
        for number in range(10):
            control.post(here("hearing", "packet"), Note(number=number))
        for at in range(100):
            control.post(here("hearing", "packet"), PathHeard(peer=BOB, path="relayed", heard_at=float(at)))
        assert len(link.outbox) == 110  # each keeps its number
        packet = place.office("packet")
        packet.add("hearing", hearing)
        place.until(lambda: len(hearing.heard) == 11)
        assert hearing.heard[-1].heard_at == 99.0
        assert control.status().overflow == {"path_heard coalesced": 99}
        assert (packet.status().gaps, packet.status().dead_letters) == (0, {})


def test_a_crowded_mailbox_stops_the_intake_until_it_is_worked_off() -> None:
    with town() as place:
        control, packet = place.pair()
        collector = Collector()
        packet.add("collector", collector)
        mailbox = packet.shells["collector"].mailbox
        mailbox.soft, mailbox.hard = 50, 100
        for number in range(15_000):
            control.post(here("collector", "packet"), Note(number=number))
        deepest = 0

        def done() -> bool:
            nonlocal deepest
            deepest = max(deepest, len(mailbox))
            return len(collector.heard) == 15_000

        place.until(done)
        assert deepest <= mailbox.hard + links.BATCH * TURN_FRAMES  # what one turn takes in, and no more
        assert collector.numbers == list(range(15_000))


def test_mail_refused_on_a_link_shows_as_a_gap_where_it_does_not_arrive() -> None:
    with town() as place:
        control, collector = place.office("control-0"), Collector()
        control.connect("packet", 1)
        link = control.dispatch.links["packet"]
        link.soft, link.hard = 5, 10
        for number in range(15):
            control.post(here("collector", "packet"), Note(number=number))
        packet = place.office("packet")
        packet.add("process", collector)
        packet.add("collector", Collector())
        place.until(lambda: not link.waiting)
        control.post(here("collector", "packet"), Note(number=99))
        place.until(lambda: bool(collector.heard))
        assert collector.heard == [GapFound(process="control-0", incarnation=1, missing=5)]
        assert packet.status().gaps == 1


def test_a_frame_that_is_missing_on_a_link_is_a_gap() -> None:
    with town() as place:
        packet, process = place.office("packet"), Collector()
        packet.add("process", process)
        packet.add("collector", Collector())
        sender = Sender(packet._context, ipc(place.run_dir / mail_name("packet", 1)))
        packer = FramePacker("control-0", 1, 1)
        body = b"\x82\xa4type\xa4note\xa6number\x01"
        for first, seq in ((1, 1), (2, 2), (7, 7), (8, 8)):
            sender.send(packer.pack(first, [("collector", "a", seq, first, 0, first, 0.0, 0, body)]))
        place.until(lambda: packet.status().delivered == 5)
        sender.close()
        assert process.heard == [GapFound(process="control-0", incarnation=1, missing=4)]
        assert packet.ledger.missing == 4


def test_mail_for_a_dead_incarnation_is_discarded_where_it_waits() -> None:
    with town() as place:
        control, collector = place.office("control-0"), Collector()
        control.connect("packet", 1)
        control.dispatch.links["packet"].sender.socket.close(linger=0)  # it takes nothing
        control.dispatch.links["packet"].flush = lambda: False  # type: ignore[method-assign]  # as if it were full
        control.post(here("collector", "packet"), Note(number=1))
        control.connect("packet", 2)
        packet = place.office("packet", 2)
        packet.add("collector", collector)
        control.post(here("collector", "packet"), Note(number=2))
        place.until(lambda: bool(collector.heard))
        assert collector.numbers == [2]
        assert control.status().dead_letters == {"stale": 1}
        assert packet.status().gaps == 0


def test_mail_of_and_for_a_dead_incarnation_is_discarded_where_it_arrives() -> None:
    with town() as place:
        packet, collector = place.office("packet", 3), Collector()
        packet.add("collector", collector)
        sender = Sender(packet._context, ipc(place.run_dir / mail_name("packet", 3)))
        body = b"\x82\xa4type\xa4note\xa6number\x01"
        envelope = ("collector", "a", 1, 1, 0, 1, 0.0, 0, body)
        for mine, theirs in ((5, 2), (5, 3), (4, 3), (6, 3)):
            sender.send(FramePacker("control-0", mine, theirs).pack(1, [envelope]))
        place.until(lambda: packet.status().delivered + sum(packet.status().dead_letters.values()) == 4)
        sender.close()
        assert len(collector.heard) == 2
        assert packet.status().dead_letters == {"stale": 2}
        reasons = [record.reason for record in packet.ring().records if record.kind == "discarded"]
        assert reasons == ["meant for incarnation 2 of packet", "from incarnation 4 of control-0, which is gone"]


def test_another_wire_version_is_discarded_by_the_frame() -> None:
    with town() as place:
        packet = place.office("packet")
        sender = Sender(packet._context, ipc(place.run_dir / mail_name("packet", 1)))
        frame = FramePacker("control-0", 1, 1).pack(1, [])
        sender.send(bytes([frame[0], WIRE_VERSION + 1]) + frame[2:])
        place.until(lambda: bool(packet.status().dead_letters))
        sender.close()
        assert packet.status().dead_letters == {"bad frame": 1}


def test_a_name_is_taken_once() -> None:
    with town() as place:
        place.office("packet", 1)
        with pytest.raises(NameTaken, match="another process 'packet' runs"):
            place.office("packet", 2)


def test_a_closed_office_gives_its_name_back_and_leaves_no_old_sockets() -> None:
    with town() as place:
        place.close(place.office("packet", 1))
        place.office("packet", 2)
        names = {path.name for path in place.run_dir.iterdir()}
        assert {name for name in names if name.endswith("-1.sock")} == set()


def test_a_removed_actor_is_a_stranger_and_its_mail_is_dead() -> None:
    with town() as place:
        office = place.office()
        ref = office.add("collector", Collector())
        office.post(here("collector"), Note(number=0))
        place.settle()
        office.post(here("collector"), Note(number=1))
        office.remove("collector")
        assert all("collector" not in arrivals.pairs for arrivals in office._reception._senders.values())
        place.settle()
        assert not ref.is_alive()
        assert office.status().dead_letters == {"unknown actor": 1}
        office.add("collector", again := Collector())
        office.post(here("collector"), Note(number=2))
        place.settle()
        assert again.numbers == [2]
        assert office.status().gaps == 0


def test_stop_actor_takes_effect_after_the_mail_before_it() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)
        office.post(here("collector"), Note(number=1))
        office.post(here("collector"), StopActor())
        office.post(here("collector"), Note(number=2))
        place.settle()
        assert collector.numbers == [1]
        assert office.status().dead_letters == {"actor stopped": 1}


def test_mail_posted_in_a_handler_has_that_message_as_its_cause() -> None:
    with town() as place:
        office = place.office()
        office.add("collector", Collector())

        def drives(message: Any, now: float) -> list[Effect]:
            office.post(here("collector"), Note(number=1))
            return [Send(here("collector"), Note(number=2))]

        office.add("port", Doing(drives))
        office.post(here("port"), Poke(), trace=77)
        place.settle()
        poke, first, second = office.ring().records
        assert (first.cause, first.trace) == (poke.id, 77)
        assert (second.cause, second.trace) == (poke.id, 77)


class Counter(Collector):
    """Counts what it is told."""

    @property
    def counters(self) -> dict[str, int]:
        return {"told": len(self.heard)}


def test_what_machines_count_is_added_up_by_role() -> None:
    with town() as place:
        office = place.office()
        for key in ("A", "B"):
            office.add(f"peer/{key}/guard", Counter())
            office.post(here(f"peer/{key}/guard"), Note(number=1))
        office.add("collector", Collector())
        place.settle()
        assert office.status().counters == {"guard.told": 2}

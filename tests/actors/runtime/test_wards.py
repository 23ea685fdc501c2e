"""Actors that fail: alone and in place, or six together; and when the process must go."""

import random
from typing import Any, ClassVar

import pytest

from actors.addresses import PEERS
from actors.effects import Address, Effect, Later, Machine
from actors.messages.process import PeerFailed
from actors.runtime import supervision
from actors.runtime.post_office import PostOffice
from actors.runtime.ring import NO_ENVELOPE
from actors.runtime.supervision import ActorsFailing, Supervision, describe
from config.keys import PublicKey
from tests.actors.runtime.town import Collector, Doing, Having, LookDue, Note, Poke, Town, here, town

BOB = PublicKey("Ym9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm8=")
GROUP = f"peer/{BOB}"


class Fragile(Collector):
    """Raises on an odd text."""

    def handle(self, message: Any, now: float) -> list[Effect]:
        if getattr(message, "text", "") == "poison":
            raise ValueError("cannot take that")
        return super().handle(message, now)


class Failures(Collector):
    inbox: ClassVar[Any] = PeerFailed


def rest(place: Town) -> None:
    place.settle()
    place.clock.now += supervision.MAX_WAIT_S
    place.settle()


def test_an_actor_starts_again_in_place_with_the_mail_that_waited() -> None:
    with town() as place:
        office = place.office()
        made: list[Fragile] = []

        def remake() -> Fragile:
            made.append(Fragile())
            return made[-1]

        first = Fragile()
        ref = office.add("fragile", first, remake=remake)
        for number, text in enumerate(["", "poison", "", ""]):
            office.post(here("fragile"), Note(number=number, text=text))
        place.settle()
        assert first.numbers == [0]
        assert made == []
        rest(place)
        assert made[0].numbers == [2, 3]
        ref.tell(Note(number=4))
        place.settle()
        assert made[0].numbers == [2, 3, 4]
        assert ref.is_alive()
        assert office.status().restarts == 1


def test_mail_that_comes_while_an_actor_rests_waits_for_the_new_one() -> None:
    with town() as place:
        office = place.office()
        first, second = Fragile(), Fragile()
        office.add("fragile", first, remake=lambda: second)
        office.post(here("fragile"), Note(number=0, text="poison"))
        place.settle()
        office.post(here("fragile"), Note(number=1))
        place.settle()
        assert (first.heard, second.heard) == ([], [])
        rest(place)
        assert (first.heard, second.numbers) == ([], [1])


def test_poison_is_set_aside_and_never_delivered_again() -> None:
    with town() as place:
        office = place.office()
        office.add("fragile", Fragile(), remake=Fragile)
        office.post(here("fragile"), Note(number=7, text="poison"))
        rest(place)
        poison = office.wards.policy.quarantine[0]
        assert (poison.actor, poison.tag, poison.error) == ("fragile", "note", "ValueError: cannot take that")
        assert "test_wards.py" in poison.where
        assert [record.kind for record in office.ring().records] == ["failed"]


def test_quarantine_is_bounded() -> None:
    with town() as place:
        office = place.office()
        office.add("fragile", Fragile(), remake=Fragile)
        for number in range(2 * supervision.QUARANTINE_LEN):
            office.post(here("fragile"), Note(number=number, text="poison"))
            rest(place)
            place.clock.now += supervision.WINDOW_S
        assert len(office.wards.policy.quarantine) == supervision.QUARANTINE_LEN
        assert office.status().restarts == 2 * supervision.QUARANTINE_LEN


def test_timers_of_a_failed_machine_are_forgotten() -> None:
    with town() as place:
        office, at, again = place.office(), place.clock.now + 60.0, Collector()

        def does(message: Any, now: float) -> list[Effect]:
            raise ValueError("no")

        office.add("timed", Doing(does, first=[Later(at, LookDue(number=1))]), remake=lambda: again)
        office.post(here("timed"), Poke())
        rest(place)
        place.clock.now = at
        place.settle()
        assert again.heard == []


def test_an_actor_that_cannot_be_made_anew_ends_the_process() -> None:
    with town() as place:
        office = place.office()
        office.add("fragile", Fragile())
        office.post(here("fragile"), Note(number=1, text="poison"))
        with pytest.raises(ActorsFailing, match="fragile failed and cannot be made anew here: ValueError"):
            office.run(lambda: False)


def test_running_out_of_memory_ends_the_process() -> None:
    def does(message: Any, now: float) -> list[Effect]:
        raise MemoryError

    with town() as place:
        office = place.office()
        office.add("large", Doing(does), remake=Collector)
        office.post(here("large"), Poke())
        with pytest.raises(ActorsFailing, match="large: MemoryError"):
            office.run(lambda: False)


def test_too_many_failures_in_a_minute_end_the_process() -> None:
    with town() as place:
        office = place.office(rng=random.Random(1))
        for name in "abc":
            office.add(name, Fragile(), remake=Fragile)
        for number in range(supervision.MAX_FAILURES + 1):
            assert office.wards.fatal is None
            office.post(here("abc"[number % 3]), Note(number=number, text="poison"))
            place.settle()
            place.clock.now += 2.0
            place.settle()
        assert "6 failures of actors in 60 s, the last in c" in str(office.wards.fatal)


def test_a_machine_that_fails_at_its_start_rests_too() -> None:
    class Stillborn(Collector):
        def start(self, now: float) -> list[Effect]:
            raise ValueError("not today")

    with town() as place:
        office = place.office()
        office.add("late", Stillborn(), remake=Collector)
        rest(place)
        assert office.status().restarts == 1
        assert not office.shells["late"].resting


def test_a_peers_actors_fail_together_and_peers_is_told() -> None:
    with town() as place:
        office, peers, others = place.office(), Failures(), Collector()
        office.add(PEERS.actor, peers)
        names = six(office)
        office.add("others", others)
        conn, guard = names[:2]
        office.post(here(guard), Note(number=1, text="poison"))
        for name in (conn, guard, "others"):
            office.post(here(name), Note(number=2))
        place.settle()
        assert peers.heard == [PeerFailed(peer=BOB, actor=guard, error="ValueError: cannot take that")]
        assert others.numbers == [2]
        assert sum(office.status().dead_letters.values()) >= 1
        assert all(office.shells[name].deaf for name in names)
        office.post(here(conn), Note(number=3))
        place.settle()
        assert office.status().dead_letters["group failed"] >= 1


def test_a_group_starts_anew_in_place_without_its_old_mail_and_timers() -> None:
    with town() as place:
        office = place.office()
        office.add(PEERS.actor, Failures())
        names = six(office)
        refs = [office.shells[name].actor_ref for name in names]
        office.post(here(names[0]), Note(number=1, text="poison"))
        place.settle()
        made = {name: Collector() for name in names}
        office.start_group(GROUP, dict(made))
        for name in names:
            office.post(here(name), Note(number=5))
        place.settle()
        assert [machine.numbers for machine in made.values()] == [[5]] * 6
        assert all(ref.is_alive() for ref in refs)
        assert [office.shells[name].actor_ref for name in names] == refs


@pytest.mark.parametrize("fails", [True, False])
def test_a_group_that_starts_anew_has_no_old_timers_and_no_old_mail(fails: bool) -> None:
    with town() as place:
        office, at, again = place.office(), place.clock.now + 60.0, Collector()
        office.add(PEERS.actor, Failures())
        old, broken = Collector(), Fragile()
        first = Doing(lambda message, now: [], first=[Later(at, LookDue(number=1))])
        office.add(f"{GROUP}/timed", first, group=GROUP)
        office.add(f"{GROUP}/old", old, group=GROUP)
        office.add(f"{GROUP}/broken", broken, group=GROUP)
        if fails:
            office.post(here(f"{GROUP}/broken"), Note(number=1, text="poison"))
            place.settle()
        office.shells[f"{GROUP}/old"].mailbox.put((NO_ENVELOPE, Note(number=9), "control-0"))
        fresh: dict[str, Machine] = {f"{GROUP}/{name}": Collector() for name in ("timed", "broken")}
        office.start_group(GROUP, {**fresh, f"{GROUP}/old": again})
        place.clock.now = at
        office.post(here(f"{GROUP}/old"), Note(number=2))
        place.settle()
        assert (old.heard, again.numbers) == ([], [2])
        assert fresh[f"{GROUP}/timed"].state == Having(0)


def test_a_group_may_start_with_others_than_before() -> None:
    with town() as place:
        office = place.office()
        office.start_group(GROUP, {f"{GROUP}/conn": Collector(), f"{GROUP}/guard": Collector()})
        office.start_group(GROUP, {f"{GROUP}/conn": Collector(), f"{GROUP}/wg_watcher": Collector()})
        assert sorted(office.shells) == [f"{GROUP}/conn", f"{GROUP}/wg_watcher"]
        office.remove_group(GROUP)
        assert office.shells == {}


def test_all_of_a_group_are_there_before_the_first_of_them_starts() -> None:
    with town() as place:
        office, last = place.office(), Collector()
        mails_it: Address[Any] = here(f"{GROUP}/z")
        first = Doing(lambda message, now: [], first=[mails_it.send(Note(number=1))])
        office.start_group(GROUP, {f"{GROUP}/a": first, f"{GROUP}/z": last})
        place.settle()
        assert last.numbers == [1]


def test_waits_double_up_to_the_longest_and_begin_anew_after_health() -> None:
    policy, now, waits = Supervision(random.Random(3)), 0.0, []
    for _ in range(12):
        waits.append(policy.wait_after_failure("a", now, "x"))
        now += 59.0  # not healthy for long enough, and not too many in a window
    for number, wait in enumerate(waits):
        nominal = min(supervision.FIRST_WAIT_S * 2**number, supervision.MAX_WAIT_S)
        assert supervision.JITTER * nominal <= wait <= nominal
    now += waits[-1] + supervision.HEALTHY_S
    assert policy.wait_after_failure("a", now, "x") <= supervision.FIRST_WAIT_S


def test_an_error_is_described_in_one_short_line() -> None:
    assert describe(ValueError("two\nlines")) == "ValueError: two lines"
    assert len(describe(ValueError("x" * 1000))) <= 200


def six(office: PostOffice) -> list[str]:
    roles = ("conn", "guard", "ice_worker", "offer_listener", "relay_worker", "wg_watcher")
    names = [f"{GROUP}/{role}" for role in roles]
    for name in names:
        office.add(name, Fragile(), group=GROUP)
    return names

"""What is promised of order: first in, first out between two actors; one order per mailbox; cause before effect."""

import random
import threading
from typing import Any

from actors.effects import Address, Effect
from tests.actors.runtime.town import Collector, Doing, Note, here, town

ACTORS = 12
STEPS = 4_000


def test_causal_order_in_a_process_and_fifo_between_any_two() -> None:
    """Every actor sends to random others; each note says how many its sender had sent to that receiver, and carries
    what its sender had heard (a vector clock): nothing that it could have heard of may come after it."""
    rng = random.Random(5)
    sent = {name: [0] * ACTORS for name in range(ACTORS)}  # sender -> sent to each
    known: list[list[list[int]]] = [[[0] * ACTORS for _ in range(ACTORS)] for _ in range(ACTORS)]
    heard = [[0] * ACTORS for _ in range(ACTORS)]  # receiver -> from each
    left = STEPS
    letters: dict[int, tuple[int, int, list[list[int]]]] = {}

    def send(me: int) -> list[Effect]:
        nonlocal left
        effects: list[Effect] = []
        for _ in range(rng.choice((0, 1, 1, 2, 3)) if left else 0):
            to = rng.randrange(ACTORS)
            left -= 1
            sent[me][to] += 1
            number = STEPS - left
            letters[number] = (me, sent[me][to], [row[:] for row in known[me]])
            known[me][me][to] = sent[me][to]
            effects.append(here(f"a{to}").send(Note(number=number)))
            if left <= 0:
                break
        return effects

    def does(me: int, message: Note) -> list[Effect]:
        if message.number:
            sender, nth, their_known = letters[message.number]
            assert nth == heard[me][sender] + 1, "first in, first out"
            for other in range(ACTORS):
                assert heard[me][other] >= their_known[other][me], "what its sender knew of is here already"
            heard[me][sender] = nth
            for row, theirs in enumerate(their_known):
                known[me][row] = [max(pair) for pair in zip(known[me][row], theirs, strict=True)]
            known[me][sender][me] = max(known[me][sender][me], nth)
        return send(me)

    with town() as place:
        office = place.office()
        for me in range(ACTORS):
            office.add(f"a{me}", Doing(lambda message, now, me=me: does(me, message)))  # type: ignore[misc]
        while left > 0:
            for me in range(ACTORS):
                office.post(here(f"a{me}"), Note(number=0))
            place.settle()
        assert office.wards.failures == 0
        assert sum(map(sum, heard)) == len(letters) >= STEPS
        assert office.status().gaps == 0


def test_many_senders_in_two_processes_keep_their_order_in_one_mailbox() -> None:
    with town() as place:
        control, packet = place.pair()
        collector = Collector()
        control.add("collector", collector)
        target = here("collector")

        def burst(me: int, message: Any) -> list[Effect]:
            return [target.send(Note(number=me * 1000 + message.number * 10 + each)) for each in range(10)]

        senders: list[Address[Any]] = []
        for me in range(1, 9):
            office = control if me % 2 else packet
            office.add(f"s{me}", Doing(lambda message, now, me=me: burst(me, message)))  # type: ignore[misc]
            senders.append(here(f"s{me}", office.process))
        for number in range(50):
            for sender in senders:
                (control if sender.process == "control-0" else packet).post(sender, Note(number=number))
        place.until(lambda: len(collector.heard) == 8 * 500)
        for me in range(1, 9):
            mine = [number for number in collector.numbers if number // 1000 == me]
            assert mine == sorted(mine)


def test_what_a_thread_sends_by_its_outlet_stays_in_order() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)
        outlets = [office.outlet(f"thread{each}") for each in range(3)]

        def work(each: int) -> None:
            for number in range(2000):
                while not outlets[each].send(here("collector"), Note(number=each * 10_000 + number)):
                    pass

        threads = [threading.Thread(target=work, args=(each,)) for each in range(3)]
        for thread in threads:
            thread.start()
        place.until(lambda: len(collector.heard) == 6000)
        for thread in threads:
            thread.join()
        for each in range(3):
            mine = [number for number in collector.numbers if number // 10_000 == each]
            assert mine == list(range(each * 10_000, each * 10_000 + 2000))
        assert office.status().gaps == 0

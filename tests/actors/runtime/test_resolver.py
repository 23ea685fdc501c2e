"""Names of STUN servers, looked up by a resolver that the test plays, on a loop whose time the test turns."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from actors.runtime import resolver
from actors.runtime.resolver import Resolver
from wg.datagrams import Endpoint

V4 = (socket.AF_INET, 2, 17, "", ("192.0.2.1", 3478))
V4_SECOND = (socket.AF_INET, 2, 17, "", ("192.0.2.9", 3478))
V6 = (socket.AF_INET6, 2, 17, "", ("2001:db8::1", 3478, 0, 0))


class Names:
    """What a name server says, one answer after the other; the last is said for ever."""

    def __init__(self, *answers: Sequence[tuple[Any, ...]] | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str, port: int) -> Sequence[tuple[Any, ...]]:
        self.asked += 1
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def story(
    servers: list[tuple[str, int]],
    names: Names,
    *,
    until: int = 1,
    again: bool = False,
    problems: list[str] | None = None,
) -> list[list[Endpoint]]:
    """Return what was told until the names were asked so often."""
    told: list[list[Endpoint]] = []
    problems = problems if problems is not None else []

    async def run() -> None:
        one = Resolver(asyncio.get_running_loop(), servers, told.append, names)
        one.start()
        async with asyncio.timeout(10):
            while names.asked < until:
                await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)
            if again:
                one.again()
                while names.asked < until + 1:
                    await asyncio.sleep(0)
                for _ in range(5):
                    await asyncio.sleep(0)
        problems.extend(one.problems())
        one.close()

    asyncio.run(run())
    return told


def test_addresses_are_told_at_once_and_nobody_is_asked() -> None:
    names = Names([V4])
    found = story([("192.0.2.7", 3478), ("2001:db8::7", 19302)], names, until=0)
    assert found == [[Endpoint("192.0.2.7", 3478), Endpoint("2001:db8::7", 19302)]]
    assert names.asked == 0


def test_one_address_of_each_family_is_taken_the_first() -> None:
    assert story([("stun.test", 3478)], Names([V6, V4, V4_SECOND])) == [
        [Endpoint("192.0.2.1", 3478), Endpoint("2001:db8::1", 3478)]
    ]


def test_a_name_without_an_address_does_not_hold_up_the_others_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver, "FIRST_RETRY_S", 0.001)
    names = Names(OSError("no such name"), UnicodeError("label too long"), [], [V4])
    assert story([("192.0.2.7", 1), ("stun.test", 3478)], names, until=4) == [
        [Endpoint("192.0.2.7", 1)],
        [Endpoint("192.0.2.7", 1), Endpoint("192.0.2.1", 3478)],
    ]


def test_a_name_that_is_known_is_asked_again_when_the_network_changed() -> None:
    names = Names([V4], [V4_SECOND])
    assert story([("stun.test", 3478)], names, again=True) == [
        [Endpoint("192.0.2.1", 3478)],
        [Endpoint("192.0.2.9", 3478)],
    ]


def test_a_name_that_has_no_address_now_keeps_the_one_it_had() -> None:
    names = Names([V4], OSError("no network"))
    assert story([("stun.test", 3478)], names, again=True) == [[Endpoint("192.0.2.1", 3478)]]


def test_a_name_without_an_address_is_told() -> None:
    problems: list[str] = []
    assert (
        story([("stun.test", 3478)], Names(socket.gaierror(-2, "Name or service not known")), problems=problems) == []
    )
    assert problems == ["STUN server stun.test: no address (Name or service not known)"]
    problems.clear()
    story([("stun.test", 3478)], Names(OSError("once"), [V4]), again=True, problems=problems)
    assert problems == []

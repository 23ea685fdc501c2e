"""The bench itself: both ways give the same story."""

from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import pykka
import pytest

from actors.effects import Address, Cancel, Effect, Later
from actors.runtime.shell import Shell
from tests.kit.bench import BENCHES, Bench, ShellBench, over_the_wire

FIRST_RETRY_S = 1.0


class RelayLost(msgspec.Struct, frozen=True, kw_only=True, tag="toy_relay_lost"):
    pass


class PathReady(msgspec.Struct, frozen=True, kw_only=True, tag="toy_path_ready"):
    pass


class RetryDue(msgspec.Struct, frozen=True, kw_only=True, tag="toy_retry_due"):
    pass


class SendOffer(msgspec.Struct, frozen=True, kw_only=True, tag="toy_send_offer"):
    interval_s: float


OFFERS: Address[Any] = Address("offers", "control-0")
STATUS: Address[Any] = Address("status", "control-0")


@dataclass(frozen=True, slots=True)
class Settled:
    pass


@dataclass(frozen=True, slots=True)
class Retrying:
    interval_s: float


class Guard:
    inbox: ClassVar[Any] = RelayLost | PathReady | RetryDue

    def __init__(self) -> None:
        self.state: Settled | Retrying = Settled()

    def start(self, now: float) -> list[Effect]:
        return [STATUS.send(PathReady())]

    def handle(self, message: Any, now: float) -> list[Effect]:
        match message:
            case RelayLost():
                return self._retry_after(FIRST_RETRY_S, now)
            case PathReady():
                self.state = Settled()
                return [Cancel(RetryDue)]
            case _:
                assert isinstance(self.state, Retrying), self.state
                again = self._retry_after(2 * self.state.interval_s, now)
                return [OFFERS.send(SendOffer(interval_s=self.state.interval_s)), *again]

    def _retry_after(self, interval_s: float, now: float) -> list[Effect]:
        self.state = Retrying(interval_s)
        return [Later(now + interval_s, RetryDue())]


both_ways = pytest.mark.parametrize("bench_of", BENCHES)


@both_ways
def test_a_lost_relay_earns_an_offer_after_the_first_wait(bench_of: type[Bench]) -> None:
    with bench_of(Guard()) as bench:
        bench.tell(RelayLost())
        assert bench.mail(OFFERS) == []
        bench.advance(FIRST_RETRY_S)
        assert bench.mail(OFFERS) == [SendOffer(interval_s=2.0)]
        assert bench.state == Retrying(2.0)


@both_ways
def test_time_passes_from_timer_to_timer(bench_of: type[Bench]) -> None:
    with bench_of(Guard(), now=50.0) as bench:
        bench.tell(RelayLost())
        bench.advance(1.0 + 2.0 + 4.0 + 7.9)
        assert [offer.interval_s for offer in bench.mail(OFFERS)] == [2.0, 4.0, 8.0]
        assert bench.now == pytest.approx(64.9)


@both_ways
def test_a_cancelled_timer_does_not_fire(bench_of: type[Bench]) -> None:
    with bench_of(Guard()) as bench:
        bench.tell(RelayLost(), PathReady())
        bench.advance(100.0)
        assert bench.mail(OFFERS) == []
        assert bench.state == Settled()


@both_ways
def test_what_the_machine_wants_first_is_caught(bench_of: type[Bench]) -> None:
    with bench_of(Guard()) as bench:
        assert bench.tags() == ["PathReady"]
        assert bench.tags() == []


@both_ways
def test_mail_is_looked_at_once(bench_of: type[Bench]) -> None:
    with bench_of(Guard()) as bench:
        assert bench.mail(STATUS) == [PathReady()]
        assert bench.mail(STATUS) == []


@both_ways
def test_mail_outside_the_inbox_is_a_mistake_of_the_story(bench_of: type[Bench]) -> None:
    with bench_of(Guard()) as bench, pytest.raises(AssertionError, match="SendOffer is not in the machine's inbox"):
        bench.tell(SendOffer(interval_s=1.0))


@both_ways
def test_a_machine_that_raises_fails_the_story(bench_of: type[Bench]) -> None:
    with bench_of(Guard()) as bench, pytest.raises(AssertionError, match="Settled"):
        bench.tell(RetryDue())


def test_the_shell_is_a_registered_pykka_actor_while_the_story_lasts() -> None:
    with ShellBench(Guard()) as bench:
        assert bench.ref in pykka.ActorRegistry.get_by_class(Shell)
    assert bench.ref not in pykka.ActorRegistry.get_all()


def test_a_message_that_changes_on_the_wire_is_found_out() -> None:
    class Odd(msgspec.Struct, tag="odd"):
        items: Any

    with pytest.raises(AssertionError, match="arrives as"):
        over_the_wire(Odd(items=(1, 2)))

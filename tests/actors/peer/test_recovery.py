from actors.peer.budget import ACTIONS, CARRIED_S
from actors.peer.recovery import Recovery
from actors.peer.ways import Direct, Relay, Standing
from wg.paths import DirectPath

START = 1000.0


def relay(generation: int = 1, standing: Standing = "doubtful") -> Relay:
    return Relay(1, generation, "rel://relay.test:1", standing)


def direct(generation: int = 9) -> Direct:
    return Direct(DirectPath(ip="192.0.2.7", port=51820), generation, "doubtful")


def proven() -> Recovery:
    recovery = Recovery()
    recovery.proven("relayed", 1, START)
    return recovery


def test_what_carried_packets_is_given_up_at_a_price() -> None:
    recovery = proven()
    recovery.given_up(relay(), "silence", START + 2, proven=False)
    assert (recovery.budget.disruptions, recovery.budget.left(START)) == (1, ACTIONS - 1)


def test_what_could_carry_at_the_remote_alone_costs_while_there_can_be_a_session() -> None:
    recovery = proven()
    recovery.given_up(relay(2), "nothing came back", START + 10, proven=False)
    assert recovery.budget.disruptions == 1
    recovery.given_up(relay(3), "nothing came back", START + CARRIED_S, proven=False)
    recovery.given_up(direct(), "nothing came back", START + 20, proven=False)  # ICE alone ever said that it works
    assert recovery.budget.disruptions == 1


def test_beside_a_proven_path_nothing_costs_that_carried_nothing() -> None:  # S9
    recovery = proven()
    for number in range(20):
        now = START + number * 60
        assert recovery.given_up(direct(number), "nothing came back", now, proven=True) is None
    assert (recovery.budget.disruptions, recovery.budget.quarantine(START + 1200)) == (0, None)


def test_twenty_changes_of_the_nat_in_an_hour_are_recovered_twenty_times_and_never_quarantined() -> None:
    recovery = Recovery()
    for number in range(20):
        now = START + number * 180
        recovery.proven("relayed", number, now)
        recovery.given_up(relay(number, "proven"), "silence", now + 100, proven=False)
        recovery.given_up(relay(-1), "nothing came back", now + 102, proven=False)
        assert recovery.budget.quarantine(now + 102) is None
        recovery.proven("relayed", number + 1, now + 103)
        recovery.recovered("silence", 0.5 + number / 10)
    (past,) = recovery.by_cause()
    assert (past.cause, past.count, past.longest_s) == ("never_proven", 20, 2.4)


def test_outages_are_counted_by_cause_with_their_lengths() -> None:
    recovery = proven()
    recovery.doubted(relay(standing="proven"), START + 30)
    recovery.recovered("a probe went unanswered", 0.4)
    recovery.failed("relay")
    recovery.recovered("the link broke", 2.0)
    recovery.doubted(relay(standing="proven"), START + 60)
    recovery.recovered("a probe went unanswered", 0.2)
    told = {past.cause: (past.count, past.last_s, past.longest_s) for past in recovery.by_cause()}
    assert told == {"silence": (2, 0.2, 0.4), "relay": (1, 2.0, 2.0)}
    assert (recovery.count, recovery.last_s, recovery.last_words) == (3, 0.2, "a probe went unanswered")


def test_what_a_reset_takes_down_is_the_resets() -> None:
    recovery = proven()
    for _ in range(ACTIONS):
        recovery.given_up(relay(), "silence", START + 2, proven=False)
    assert recovery.budget.quarantine(START + 2) is not None
    recovery.reset()
    assert (recovery.resets, recovery.budget.quarantine(START + 2)) == (1, None)
    recovery.failed("relay")
    recovery.recovered("reset by hand", 1.0)
    recovery.failed("relay")
    recovery.recovered("the link broke", 1.0)
    assert [past.cause for past in recovery.by_cause()] == ["reset", "relay"]

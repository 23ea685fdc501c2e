"""Which pairs the matrix has, how it shows them, and one of them for real."""

import itertools

import pytest

from tests.kit.nats import expected_path
from tests.lab.matrix import Outcome, all_names, find, grid, kinds, line, run

MET = Outcome("public", "symmetric", "direct", "direct", 0.7, 1.2)
NOT_DIRECT = Outcome("public", "public", "direct", "relayed", 0.7, None)
NEVER_MET = Outcome("symmetric", "symmetric", "relayed", "none", None, None, "no reply through the tunnel\nlog")


def test_every_pair_of_kinds_is_there_once() -> None:
    names = list(all_names())
    pairs = {frozenset(name.split(":")) for name in names if ":" in name}
    assert pairs == {frozenset(pair) for pair in itertools.product(kinds(), repeat=2)}
    assert len(names) == len(set(names)) == len(pairs) + 3
    assert [find(name).name for name in names] == names


def test_both_answers_are_expected_of_some_pair() -> None:
    expected = {name: expected_path(find(name).left, find(name).right) for name in all_names()}
    assert expected["one-lan"] == expected["public:symmetric"] == expected["dual-stack:ipv6-only"] == "direct"
    assert expected["symmetric:symmetric"] == expected["masquerade:ipv6-only"] == expected["public:no-udp"] == "relayed"
    assert (expected["one-carrier"], expected["one-carrier-hairpinning"]) == ("relayed", "direct")


def test_an_unknown_pair_is_refused_with_the_names_that_would_do() -> None:
    for name in ("public", "public:pubic", "one-lan:public", ""):
        with pytest.raises(ValueError, match=r"would do|KIND:KIND of public, .*; or one-lan"):
            find(name)


def test_only_a_direct_path_or_an_expected_relay_will_do() -> None:
    assert [one.ok for one in (MET, NOT_DIRECT, NEVER_MET)] == [True, False, False]
    assert Outcome("a", "b", "relayed", "direct", 0.7, 1.2).ok


def test_a_line_names_what_went_wrong() -> None:
    assert line(MET).split() == ["public", "symmetric", "direct", "direct", "0.70", "s", "1.20", "s"]
    assert line(NOT_DIRECT).endswith("-  <-- not as expected")
    assert line(NEVER_MET).endswith("-        -  <-- no reply through the tunnel")


def test_the_grid_shows_each_pair_both_ways() -> None:
    assert grid([MET, NOT_DIRECT, NEVER_MET]).splitlines() == [
        "                          1   2",
        " 1 public                r!  D ",
        " 2 symmetric             D   -!",
    ]


@pytest.mark.netns
def test_two_agents_meet_over_the_relay_where_no_direct_path_can_be() -> None:
    outcome = run(find("masquerade:ipv6-only"))
    assert (outcome.expected, outcome.path, outcome.direct_s, outcome.ok) == ("relayed", "relayed", None, True)
    assert outcome.first_reply_s is not None

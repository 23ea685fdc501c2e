"""Sequence diagrams."""

from actors.trace.record import FLAG_EXTERNAL, FLAG_TIMER
from actors.trace.sequence import MAX_LANES, as_mermaid, as_text
from tests.actors.trace.records import record
from tests.config.samples import BOB

NAMES = {BOB: "bob"}
RECORDS = [
    record(flags=FLAG_EXTERNAL, sender="", to="relays"),
    record(sender="relays@control-0", to="signal", before="Up", after="Down"),
    record(sender="signal@control-0", to="relays", kind="dropped", reason="over its bound"),
    record(flags=FLAG_TIMER, to="signal"),
]


def test_a_lane_an_actor_and_an_arrow_a_message() -> None:
    head, *lines = as_text(RECORDS, NAMES, 0.0)
    assert head == " " * 14 + "outside   relays   signal"
    drawn = [line.split("  ", 1)[1] for line in lines]
    assert [one[:28] for one in drawn] == [
        "   |-------->|        |     ",
        "   |         |------->|     ",
        "   |         |<-------|     ",
        "   |         |        o     ",
    ]
    assert drawn[1][28:] == "relayed_opened peer=bob generation=3 link=1  Up -> Down"
    assert drawn[2].endswith("DROPPED: over its bound")


def test_more_actors_than_lanes_are_told_without_an_arrow() -> None:
    many = [record(sender=f"a{number}@control-0", to=f"a{number + 1}") for number in range(MAX_LANES + 3)]
    lines = list(as_text(many, NAMES, 0.0))
    assert len(lines[0].split()) == MAX_LANES
    assert ">" not in lines[-1].split("relayed_opened")[0]


def test_mermaid() -> None:
    lines = list(as_mermaid([*RECORDS, record(sender="a;b@control-0", to="c#d")], NAMES))
    assert lines[:4] == [
        "sequenceDiagram",
        "  participant a0 as outside",
        "  participant a1 as relays",
        "  participant a2 as signal",
    ]
    assert "  a1->>a2: relayed_opened peer=bob generation=3 link=1  Up -> Down" in lines
    assert any(line.startswith("  a2-xa1: ") for line in lines)
    assert not any(mark in line for line in lines for mark in ";#")

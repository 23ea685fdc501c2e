import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.packet import ConfigurePeer, RelayLinksSnapshotWanted
from actors.messages.peer import OfferDue, PathProven, RelayTurn
from actors.messages.process import Ping
from actors.messages.redact import Redactor
from actors.trace.record import FLAG_EXTERNAL, FLAG_TIMER, Record
from actors.trace.render import as_json, clock_time, render
from config.keys import Secret
from tests.actors.trace.records import NOW, record
from tests.config.samples import BOB, CAROL

NAMES = {BOB: "bob"}


def line(one: Record) -> str:
    """Return the line without its time."""
    text = render(one, NAMES, 0.0)
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}  ", text)
    return text[14:]


def test_a_delivery() -> None:
    assert line(record()) == (
        "relay_links@packet -> bob/relay_worker  relayed_opened generation=3 link=1  Opening -> Open  #41 <- #38"
    )


def test_a_state_that_stays_is_named_once_and_a_root_has_no_cause() -> None:
    assert line(record(after="Opening", cause=0)).endswith("link=1  Opening  #41")


def test_the_process_is_named_where_mail_crosses_from_one_to_another() -> None:
    sender = f"peer/{BOB}/guard@control-0"
    assert line(record(sender=sender)).startswith("bob/guard -> bob/relay_worker")
    assert line(record(sender=sender, process="packet", to="tunnels")).startswith("bob/guard@control-0 -> tunnels")


def test_actors_that_every_process_has_are_told_apart() -> None:
    ping = record(Ping(token=1), to="process", sender="agent@supervisor", process="packet")
    assert line(ping).startswith("agent@supervisor -> process@packet  ping token=1")
    pong = record(to="agent", sender="process@control-0", process="control-0")
    assert line(pong).startswith("process@control-0 -> agent")


def test_a_peer_without_a_name_is_shown_by_its_first_8_characters() -> None:
    found = line(record(to=f"peer/{CAROL}/conn"))
    assert f"-> {CAROL[:8]}/conn  relayed_opened peer=bob generation=3" in found
    assert CAROL not in found


def test_timers_and_mail_from_outside() -> None:
    timer = record(OfferDue(), to=f"peer/{BOB}/guard", sender=f"peer/{BOB}/guard@control-0", flags=FLAG_TIMER)
    assert line(timer).startswith("timer -> bob/guard  offer_due  Opening -> Open")
    assert line(record(sender="", flags=FLAG_EXTERNAL)).startswith("outside -> bob/relay_worker")
    assert line(record(sender="signal@signal_link", flags=FLAG_EXTERNAL)).startswith(
        "outside signal@signal_link -> bob"
    )


def test_what_was_lost_says_why() -> None:
    found = line(record(kind="dead_letter", reason="no such actor"))
    assert "  DEAD LETTER: no such actor  #41 <- #38" in found
    assert "Opening" not in found
    gap = line(record(kind="gap", to="", sender="guard@control-0", tag="", body=b"", reason="3 are missing", id=0))
    assert gap == "guard -> control-0  (undecodable)  GAP: 3 are missing"


def test_times_are_told_from_the_record_on() -> None:
    proven = PathProven(peer=BOB, path="direct", generation=0, heard_at=NOW - 0.25)
    assert "path=direct generation=0 heard=-0.250s" in line(record(proven))


def test_secrets_are_placeholders() -> None:
    message = ConfigurePeer(peer=BOB, allowed_ips=(), persistent_keepalive_s=0, preshared_key=Secret(b"k" * 32))
    body = Redactor(b"run key").redact(message, msgspec.msgpack.encode(message))
    found = record(message, body=body, to="tunnels")
    assert re.search(r"preshared_key=<secret [0-9a-f]{4}>", line(found))
    assert re.fullmatch(r"<secret [0-9a-f]{4}>", json.loads(as_json(found, 0.0))["fields"]["preshared_key"])


def test_long_fields_are_cut() -> None:
    turn = RelayTurn(peer=CAROL, turn=1, relay_url="rel://" + "x" * 500, relay_ip="y" * 100)
    found = line(record(turn))
    assert len(found) < 300
    assert "..." in found


def test_what_a_remote_said_stays_on_the_line() -> None:
    found = line(record(RelayTurn(peer=BOB, turn=1, relay_url="a\nb\x1b[2J", relay_ip=None)))
    assert r"relay_url=a\nb\x1b[2J relay_ip=-" in found


def test_a_message_of_another_version_is_shown_too() -> None:
    body = msgspec.msgpack.encode({"type": "from_tomorrow", "colour": "blue sky", "deep": [{"a": [1.5, True, b"xy"]}]})
    assert 'from_tomorrow colour="blue sky" deep=[{a=[1.5,yes,7879]}]' in line(record(tag="from_tomorrow", body=body))


def test_a_message_without_fields() -> None:
    assert "-> relay_links  relay_links_snapshot_wanted  Opening" in line(
        record(RelayLinksSnapshotWanted(), to="relay_links")
    )


def test_json_holds_the_whole_record() -> None:
    found = json.loads(as_json(record(), 100.0))
    assert found == {
        "at": NOW,
        "time_unix_s": NOW + 100,
        "process": "control-0",
        "kind": "delivered",
        "from": "relay_links@packet",
        "to": f"peer/{BOB}/relay_worker",
        "type": "relayed_opened",
        "fields": {"peer": BOB, "generation": 3, "link": 1},
        "before": "Opening",
        "after": "Open",
        "reason": "",
        "id": 41,
        "cause": 38,
        "trace": 30,
        "timer": False,
        "sent_at": 0.0,
        "service_s": 0.0,
    }


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e300, -1e300])
def test_a_time_that_cannot_be(seconds: float) -> None:
    assert clock_time(seconds) == "??:??:??.???"


PARTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=4),
    max_leaves=20,
)


@given(body=st.binary() | st.dictionaries(st.text(), PARTS).map(msgspec.msgpack.encode), text=st.text(), at=st.floats())
def test_any_record_is_one_printable_line_and_one_json_object(body: bytes, text: str, at: float) -> None:
    one = record(body=body, to=text, sender=text, tag=text, reason=text, before=text, at=at, kind="dropped")
    for rendered in (render(one, NAMES, 0.0), as_json(one, 0.0)):
        assert "\n" not in rendered
    json.loads(as_json(one, 0.0))

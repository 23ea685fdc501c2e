"""Facts from mail, also from mail of other versions, whose fields may be anything."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.trace.explain import Standing, explain
from actors.trace.facts import _TELLERS, address_of, facts_about
from actors.trace.record import Record
from tests.actors.trace.stories import FAULT, NOW, Story
from tests.config.samples import BOB
from transport.signal.messages import HomingFields

NAMES = (
    *("peer", "link", "reason", "kind", "detail", "path", "heard_at", "description", "candidate"),
    *("process", "status", "url", "was_open", "generation", "relay_url", "cause", "role"),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=5,
)
usual = st.sampled_from(
    ["relayed", "direct", "network_changed", "our addresses are none", "half-open", "killed by SIGKILL", "packet", BOB]
)
bodies = st.dictionaries(st.sampled_from(NAMES), usual | values, max_size=8)


@st.composite
def mail(draw: st.DrawFn) -> Record:
    """Return mail that would tell something, were its fields what they should be."""
    actor, tag = draw(st.sampled_from([*_TELLERS, ("relay_links", "open_link")]))
    own = actor in {"conn", "guard", "relay_worker", "ice_worker", "wg_watcher"}
    body: dict[str, Any] = {"type": tag, **draw(bodies)}
    return Record(
        at=FAULT + draw(st.floats(-20, 60)),
        process="control-0",
        kind="delivered",
        to=f"peer/{BOB}/{actor}" if own else actor,
        id=draw(st.integers(1, 99)),
        tag=tag,
        body=msgspec.msgpack.encode(body),
        before=draw(st.sampled_from(["Connected", ""])),
    )


@settings(deadline=None)
@given(st.lists(mail(), max_size=12))
def test_whatever_the_mail_holds_it_is_explained(records: list[Record]) -> None:
    standing = Standing(
        peer=BOB, name="bob", state="connected", path="relayed", endpoint="", proof_age_s=None, reason=""
    )
    told = explain(standing, [*Story().up().records, *records], NOW)
    assert told.because
    assert msgspec.json.encode(told)


def test_a_candidate_is_read() -> None:
    text = "820134398 1 udp 1694498815 198.51.100.1 51820 typ srflx raddr 192.168.1.2 rport 51820"
    assert address_of(text) == ("srflx", "198.51.100.1")
    assert address_of(f"candidate:{text}") == ("srflx", "198.51.100.1")
    assert address_of("198.51.100.1") is None


def test_facts_come_in_the_order_of_time() -> None:
    told = facts_about(BOB, reversed(Story().up().proven(1.0, "direct").records))
    assert [one.at for one in told] == sorted(one.at for one in told)


def test_what_the_peer_heard_of_us_is_told_where_it_is_a_while_ago() -> None:  # recovery R14
    story = Story().offer(0.0, homing=HomingFields(heard_direct_ms=3240, heard_relayed_ms=9000))
    story.offer(1.0, homing=HomingFields(heard_direct_ms=300, heard_relayed_ms=9000)).offer(2.0, homing=HomingFields())
    views = [fact.text for fact in facts_about(BOB, story.records) if fact.kind == "their_view"]
    assert views == ["the peer had last heard us 3.2 s before directly, 9.0 s before over the relay"]

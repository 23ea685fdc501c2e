from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.keys import Secret
from tests.transport.signal.vectors import A, B, description, vectors
from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.signal import signal_pb2 as pb
from transport.signal.body import (
    MAX_CANDIDATE_LEN,
    MAX_RELAY_URLS,
    Answer,
    Candidate,
    Envelope,
    GoIdle,
    Heartbeat,
    Offer,
    Other,
    OwnBody,
    body_of,
    decode_body,
    decode_envelope,
    encode_body,
    encode_envelope,
    received,
)
from transport.signal.messages import (
    AnswerReceived,
    CandidateReceived,
    Description,
    GoIdleReceived,
    HomingFields,
    IceCredentials,
    OfferReceived,
    PostCandidate,
    PostDescription,
)

VECTORS = vectors()
NO_ICE = Description(
    ice=None,
    session=None,
    listen_port=51820,
    version="0.77.1",
    relay_url="rels://relay.example.com:443",
    relay_ip=None,
    homing=None,
)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("offer_body", Offer(description())),
        ("idle_body", GoIdle()),
        ("heartbeat_body", Heartbeat()),
        ("no_ice_body", Offer(NO_ICE)),
    ],
)
def test_bodies_are_the_spec_s_bytes_both_ways(name: str, body: OwnBody) -> None:
    assert encode_body(body) == VECTORS[name]
    assert decode_body(VECTORS[name]) == body


def test_an_envelope_is_the_spec_s_bytes_both_ways() -> None:
    envelope = Envelope(A, B, VECTORS["offer_sealed"])
    data = b"\x12\x2c" + A.encode() + b"\x1a\x2c" + B.encode() + b"\x22\x94\x01" + VECTORS["offer_sealed"]
    assert len(data) == 243
    assert encode_envelope(envelope) == data
    assert decode_envelope(data) == envelope


def test_an_answer_differs_from_an_offer_in_its_type_alone() -> None:
    assert encode_body(Answer(description())) == b"\x08\x01" + VECTORS["offer_body"]


def test_homing_fields_make_a_peer_ours_even_when_all_are_at_their_defaults() -> None:
    data = encode_body(Offer(description(HomingFields())))
    assert data == VECTORS["offer_body"] + bytes.fromhex("c23e00")  # field 1000, empty
    assert decode_body(data) == Offer(description(HomingFields()))


def test_a_foreign_parser_skips_the_homing_fields() -> None:
    ours = pb.Body.FromString(encode_body(Offer(description(HomingFields(offer_id=7, relay_urls=("rel://r:1",))))))
    ours.ClearField("homing")
    assert ours.SerializeToString() == VECTORS["offer_body"]


texts = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters=":"), min_size=1, max_size=64
)
uint64s = st.integers(0, (1 << 64) - 1)
homing_fields = st.builds(
    HomingFields,
    offer_id=uint64s,
    acknowledges=uint64s,
    cause=uint64s,
    relay_generation=uint64s,
    relay_urls=st.lists(texts, max_size=MAX_RELAY_URLS).map(tuple),
    relay_unreached=st.none() | texts,
    heard_direct_ms=st.none() | uint64s,
    heard_relayed_ms=st.none() | uint64s,
)
credentials = st.builds(IceCredentials, ufrag=texts, pwd=st.builds(lambda text: Secret(text.encode()), texts))
sessions = st.binary(min_size=5, max_size=5)


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    ice = draw(st.none() | credentials)
    return Description(
        ice=ice,
        session=None if ice is None else draw(st.none() | sessions),
        listen_port=draw(st.integers(0, 65535)),
        version=draw(st.just("") | texts),
        relay_url=draw(st.none() | texts),
        relay_ip=draw(st.none() | st.ip_addresses().map(lambda ip: str(getattr(ip, "ipv4_mapped", None) or ip))),
        homing=draw(st.none() | homing_fields),
    )


own_bodies = st.one_of(
    st.builds(Offer, descriptions()),
    st.builds(Answer, descriptions()),
    st.builds(Candidate, texts),
    st.just(GoIdle()),
    st.just(Heartbeat()),
)


@given(own_bodies)
def test_every_body_comes_back_as_it_was(body: OwnBody) -> None:
    assert decode_body(encode_body(body)) == body


@given(st.binary(max_size=300))
def test_any_bytes_are_a_body_or_the_remote_s_fault(data: bytes) -> None:
    try:
        body = decode_body(data)
    except RemoteProtocolError:
        return
    _assert_is_bounded(body)


@given(own_bodies, st.data())
def test_a_damaged_body_is_a_body_or_the_remote_s_fault(body: OwnBody, data: st.DataObject) -> None:
    encoded = bytearray(encode_body(body))
    for index in data.draw(st.lists(st.integers(0, len(encoded) - 1), min_size=1, max_size=4)):
        encoded[index] = data.draw(st.integers(0, 255))
    try:
        damaged = decode_body(bytes(encoded))
    except RemoteProtocolError:
        return
    _assert_is_bounded(damaged)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_envelope_or_the_remote_s_fault(data: bytes) -> None:
    try:
        envelope = decode_envelope(data)
    except RemoteProtocolError:
        return
    assert decode_envelope(encode_envelope(envelope)) == envelope


@pytest.mark.parametrize("payload", ["", "nocolon", "a:b:c", "::"])
def test_a_payload_without_exactly_one_colon_is_dropped(payload: str) -> None:
    with pytest.raises(RemoteProtocolError, match="colons"):
        decode_body(_offer(payload=payload))


@pytest.mark.parametrize("payload", [":", "ufrag:", ":pwd"])
def test_empty_credentials_mean_no_ice_and_no_session(payload: str) -> None:
    said = _described(payload=payload, sessionId=b"12345")
    assert said.ice is None
    assert said.session is None


@pytest.mark.parametrize("payload", ["u\x07:pwd", "üfrag:pwd", "u" * 257 + ":pwd", "u:p\n"])
def test_unprintable_or_endless_credentials_are_dropped(payload: str) -> None:
    with pytest.raises(RemoteProtocolError, match="printable"):
        decode_body(_offer(payload=payload))


@pytest.mark.parametrize("session", [b"", b"1234", b"123456"])
def test_a_session_id_of_another_length_counts_as_absent(session: bytes) -> None:
    assert _described(payload="u:p", sessionId=session).session is None


@pytest.mark.parametrize(
    ("raw", "literal"),
    [
        (bytes([192, 0, 2, 10]), "192.0.2.10"),
        (bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 10]), "192.0.2.10"),
        (bytes.fromhex("20010db8000000000000000000000001"), "2001:db8::1"),
        (b"", None),
        (b"123", None),
        (b"12345", None),
    ],
)
def test_a_relay_ip_has_4_or_16_bytes_and_mapped_ones_are_reduced(raw: bytes, literal: str | None) -> None:
    assert _described(relayServerIP=raw).relay_ip == literal


def test_a_mapped_relay_ip_is_sent_as_four_bytes() -> None:
    said = Description(
        **{name: getattr(NO_ICE, name) for name in NO_ICE.__struct_fields__ if name != "relay_ip"},
        relay_ip="::ffff:192.0.2.10",
    )
    assert pb.Body.FromString(encode_body(Offer(said))).relayServerIP == bytes([192, 0, 2, 10])


def test_what_harms_nobody_is_left_out() -> None:
    said = _described(wgListenPort=70_000, netBirdVersion="0.1\n", relayServerAddress="rel://" + "h" * 300)
    assert (said.listen_port, said.version, said.relay_url) == (0, "", None)


def test_an_empty_relay_url_is_none() -> None:
    assert _described(relayServerAddress="").relay_url is None


def test_relay_urls_are_bounded_in_number_and_length() -> None:
    homing = pb.HomingFields(relayUrls=["rel://" + "h" * 300, *(f"rel://host{number}:1" for number in range(20))])
    said = _described(homing=homing)
    assert said.homing is not None
    assert said.homing.relay_urls == tuple(f"rel://host{number}:1" for number in range(MAX_RELAY_URLS - 1))


def test_other_types_ask_for_nothing() -> None:
    for number in (3, 4, 99):
        body = decode_body(bytes([0x08, number]))
        assert body == Other(number)
        assert received(body, A, bytes(24)) is None
    assert received(Heartbeat(), A, bytes(24)) is None


def test_unknown_fields_are_skipped() -> None:
    assert decode_body(VECTORS["offer_body"] + bytes.fromhex("9a 06 01 ff")) == Offer(description())


@pytest.mark.parametrize("text", ["", "c" * (MAX_CANDIDATE_LEN + 1)])
def test_a_candidate_is_neither_empty_nor_endless(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="candidate of"):
        decode_body(pb.Body(type=pb.Body.CANDIDATE, payload=text).SerializeToString())
    with pytest.raises(LocalProtocolError, match="candidate of"):
        encode_body(Candidate(text))


def test_a_rosenpass_offer_of_half_a_megabyte_is_read() -> None:
    config = pb.RosenpassConfig(rosenpassPubKey=bytes(524_160), rosenpassServerAddr=":9999")
    assert _described(rosenpassConfig=config).ice is None


@pytest.mark.parametrize(
    "changed",
    [
        {"ice": IceCredentials(ufrag="a:b", pwd=Secret(b"p"))},
        {"ice": IceCredentials(ufrag="", pwd=Secret(b"p"))},
        {"relay_ip": "relay.example.com"},
        {"listen_port": -1},
        {"homing": HomingFields(offer_id=-1)},
    ],
)
def test_what_a_receiver_would_not_understand_is_our_bug(changed: dict[str, Any]) -> None:
    fields = {name: getattr(NO_ICE, name) for name in NO_ICE.__struct_fields__} | changed
    with pytest.raises(LocalProtocolError):
        encode_body(Offer(Description(**fields)))


def test_posts_become_bodies_and_bodies_mail() -> None:
    said, nonce = description(), bytes(24)
    assert body_of(PostDescription(peer=B, kind="offer", description=said)) == Offer(said)
    assert body_of(PostDescription(peer=B, kind="answer", description=said)) == Answer(said)
    assert body_of(PostCandidate(peer=B, candidate="c")) == Candidate("c")
    assert received(Offer(said), A, nonce) == OfferReceived(peer=A, description=said, nonce=nonce)
    assert received(Answer(said), A, nonce) == AnswerReceived(peer=A, description=said, nonce=nonce)
    assert received(Candidate("c"), A, nonce) == CandidateReceived(peer=A, candidate="c", nonce=nonce)
    assert received(GoIdle(), A, nonce) == GoIdleReceived(peer=A, nonce=nonce)


def _offer(**fields: Any) -> bytes:
    return pb.Body(type=pb.Body.OFFER, **({"payload": ":"} | fields)).SerializeToString()


def _described(**fields: Any) -> Description:
    body = decode_body(_offer(**fields))
    assert isinstance(body, Offer)
    return body.description


def _assert_is_bounded(body: object) -> None:
    if isinstance(body, Offer | Answer):
        said = body.description
        assert said.session is None or (len(said.session) == 5 and said.ice is not None)
        assert 0 <= said.listen_port <= 65535
        assert said.version.isprintable()
        assert len(said.version) <= 64
        assert encode_body(body)

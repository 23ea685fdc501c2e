"""Frames to bytes and back: the vectors, the recording, the limits, and bytes from anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transport.relay.vectors import message, transcript, vectors
from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.relay.codec import (
    CLOSE,
    HEALTH_CHECK,
    BadBody,
    BadHeader,
    UnexpectedType,
    decode_from_client,
    decode_from_server,
    encode,
)
from transport.relay.frames import (
    HEALTH_CHECK_PEER_ID,
    MAX_AUTH_RESPONSE_LEN,
    MAX_MESSAGE_LEN,
    MAX_PAYLOAD_LEN,
    MAX_PEER_IDS,
    MAX_TOKEN_LEN,
    PEER_ID_LEN,
    Auth,
    AuthResponse,
    Close,
    Frame,
    HealthCheck,
    PeerId,
    PeersOnline,
    PeersWentOffline,
    SubscribePeerState,
    Transport,
    UnsubscribePeerState,
    peer_id,
    printed,
)

A, B = peer_id(vectors()["peer_id_a"]["text"]), peer_id(vectors()["peer_id_b"]["text"])

FROM_CLIENT: list[tuple[str, Frame]] = [
    ("auth", Auth(A, message("token"))),
    ("subscribe_b", SubscribePeerState((B,))),
    ("unsubscribe_b", UnsubscribePeerState((B,))),
    ("transport_to_b", Transport(B, bytes.fromhex("deadbeef"))),
    ("health_check", HealthCheck()),
    ("close", Close()),
]
FROM_SERVER: list[tuple[str, Frame]] = [
    ("auth_response", AuthResponse("rels://relay-1.example.com:443")),
    ("online_b", PeersOnline((B,))),
    ("offline_b", PeersWentOffline((B,))),
    ("transport_from_a", Transport(A, bytes.fromhex("deadbeef"))),
    ("health_check", HealthCheck()),
    ("close", Close()),
]

ids = st.binary(min_size=PEER_ID_LEN, max_size=PEER_ID_LEN).map(PeerId)
id_lists = st.lists(ids, min_size=1, max_size=6).map(tuple)
client_frames = st.one_of(
    st.builds(Auth, ids, st.binary(max_size=MAX_TOKEN_LEN)),
    st.builds(Transport, ids, st.binary(max_size=200)),
    st.builds(SubscribePeerState, id_lists),
    st.builds(UnsubscribePeerState, id_lists),
    st.just(Close()),
    st.just(HealthCheck()),
)
server_frames = st.one_of(
    st.builds(AuthResponse, st.text(min_size=1, max_size=100)),
    st.builds(Transport, ids, st.binary(max_size=200)),
    st.builds(PeersOnline, id_lists),
    st.builds(PeersWentOffline, id_lists),
    st.just(Close()),
    st.just(HealthCheck()),
)


def test_peer_ids_are_hashes_of_the_keys_text() -> None:
    for name in ("peer_id_a", "peer_id_b"):
        vector = vectors()[name]
        assert peer_id(vector["text"]) == bytes.fromhex(vector["hex"])
        assert printed(peer_id(vector["text"])) == vector["printed"]
    assert message("health_check_agent") == HEALTH_CHECK_PEER_ID


@pytest.mark.parametrize(("name", "frame"), FROM_CLIENT)
def test_what_clients_send_is_encoded_and_decoded_as_specified(name: str, frame: Frame) -> None:
    assert encode(frame) == message(name)
    assert decode_from_client(message(name)) == frame


@pytest.mark.parametrize(("name", "frame"), FROM_SERVER)
def test_what_servers_send_is_encoded_and_decoded_as_specified(name: str, frame: Frame) -> None:
    assert encode(frame) == message(name)
    assert decode_from_server(message(name)) == frame


def test_every_recorded_message_is_encoded_to_the_same_bytes() -> None:
    messages = [line for line in transcript() if "hex" in line]
    assert len(messages) == 27
    for line in messages:
        recorded = bytes.fromhex(line["hex"])
        frame = decode_from_client(recorded) if line["from"] == "client" else decode_from_server(recorded)
        assert encode(frame) == recorded, line


def test_a_frame_at_its_limit_fits_and_one_beyond_is_our_bug() -> None:
    assert len(encode(Transport(A, bytes(MAX_PAYLOAD_LEN)))) == MAX_MESSAGE_LEN
    assert len(encode(AuthResponse("x" * (MAX_AUTH_RESPONSE_LEN - 2)))) == MAX_AUTH_RESPONSE_LEN
    assert len(encode(PeersOnline((A,) * MAX_PEER_IDS))) == 2 + 244 * 36
    assert len(encode(Auth(A, bytes(170)))) == 212
    for frame in (
        Transport(A, bytes(MAX_PAYLOAD_LEN + 1)),
        AuthResponse("x" * (MAX_AUTH_RESPONSE_LEN - 1)),
        AuthResponse(""),
        PeersOnline((A,) * (MAX_PEER_IDS + 1)),
        SubscribePeerState(()),
        Auth(A, bytes(171)),
        Transport(PeerId(A[:-1]), b""),
    ):
        with pytest.raises(LocalProtocolError):
            encode(frame)


@pytest.mark.parametrize("frame_type", [CLOSE, HEALTH_CHECK])
def test_bytes_after_a_frame_without_body_are_ignored(frame_type: int) -> None:
    expected = Close() if frame_type == CLOSE else HealthCheck()
    assert decode_from_client(bytes((1, frame_type)) + b"more") == expected
    assert decode_from_server(bytes((1, frame_type)) + b"more") == expected


@pytest.mark.parametrize("wrong", [b"", b"\x01", b"\x02\x05", b"\x00\x03" + bytes(40), b"\x01\x03" + bytes(8819)])
def test_a_message_that_is_no_frame_is_told_apart(wrong: bytes) -> None:
    with pytest.raises(BadHeader):
        decode_from_client(wrong)
    with pytest.raises(BadHeader):
        decode_from_server(wrong)


def test_each_side_sends_its_own_types_only() -> None:
    for frame_type in set(range(256)) - {3, 4, 5, 6, 8, 9}:
        with pytest.raises(UnexpectedType):
            decode_from_client(bytes((1, frame_type)) + bytes(100))
    for frame_type in set(range(256)) - {3, 4, 5, 7, 10, 11}:
        with pytest.raises(UnexpectedType):
            decode_from_server(bytes((1, frame_type)) + bytes(100))


@pytest.mark.parametrize(
    "wrong",
    [
        b"\x01\x03" + bytes(35),  # a Transport without a whole id
        b"\x01\x08" + bytes(35),
        b"\x01\x09" + bytes(37),
        b"\x01\x06\x21\x12\xa4\x42" + bytes(35),
        b"\x01\x06\x21\x12\xa4\x43" + bytes(80),  # wrong magic
        b"\x01\x06\x21\x12\xa4\x42" + bytes(207),  # over 212 bytes
    ],
)
def test_a_body_that_does_not_fit_is_told_apart(wrong: bytes) -> None:
    with pytest.raises(BadBody):
        decode_from_client(wrong)


@pytest.mark.parametrize("wrong", [b"\x01\x07", b"\x01\x07\xff", b"\x01\x07" + b"x" * 8191, b"\x01\x0a" + bytes(1)])
def test_a_servers_body_that_does_not_fit_is_told_apart(wrong: bytes) -> None:
    with pytest.raises(BadBody):
        decode_from_server(wrong)


def test_an_empty_list_of_peers_decodes_to_nobody() -> None:
    assert decode_from_client(b"\x01\x08") == SubscribePeerState(())
    assert decode_from_server(b"\x01\x0a") == PeersOnline(())


@given(client_frames)
def test_any_client_frame_survives_the_way(frame: Frame) -> None:
    assert decode_from_client(encode(frame)) == frame


@given(server_frames)
def test_any_server_frame_survives_the_way(frame: Frame) -> None:
    assert decode_from_server(encode(frame)) == frame


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda tail: b"\x01" + tail)))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for decode in (decode_from_client, decode_from_server):
        try:
            frame = decode(data)
        except RemoteProtocolError:
            continue
        if not isinstance(frame, Close | HealthCheck) and getattr(frame, "peers", True):
            assert encode(frame) == data

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wg.echo import ECHO_LEN, MAX_TOKEN, EchoKind, decode_echo, encode_echo


@given(st.sampled_from(EchoKind), st.integers(0, MAX_TOKEN), st.integers(0, 15))
def test_an_echo_survives_the_padding_behind_it(kind: EchoKind, token: int, padding: int) -> None:
    assert decode_echo(encode_echo(kind, token) + bytes(padding)) == (kind, token)


def test_an_echo_can_be_taken_for_no_ip_packet() -> None:
    assert encode_echo(EchoKind.REQUEST, MAX_TOKEN)[0] >> 4 not in {4, 6}


@pytest.mark.parametrize(
    "plaintext",
    [b"", bytes(ECHO_LEN), b"\0\1" + bytes(ECHO_LEN - 3), b"\0\3" + bytes(ECHO_LEN), b"\x45\1" + bytes(ECHO_LEN)],
)
def test_anything_else_is_none(plaintext: bytes) -> None:
    assert decode_echo(plaintext) is None


@given(st.binary(max_size=64))
def test_no_bytes_raise(plaintext: bytes) -> None:
    decode_echo(plaintext)

"""Netlink as bytes: what was put in comes out, and any bytes are read or bad."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.netlink import BadNetlink, Message, attribute, attributes, encode, messages, text


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes_come_back_as_they_were(given_attributes: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, value) for kind, value in given_attributes)
    assert list(attributes(data)) == given_attributes


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1)), max_size=5))
def test_messages_come_back_as_they_were(given_messages: list[tuple[int, int, int]]) -> None:
    body = attribute(1, b"four")
    data = b"".join(encode(*head, body) for head in given_messages)
    assert list(messages(data)) == [Message(*head, body) for head in given_messages]


def test_the_bits_that_say_how_a_value_is_laid_out_are_no_part_of_its_type() -> None:
    assert list(attributes(attribute(0x8000 | 18, b"nested"))) == [(18, b"nested")]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_bad(data: bytes) -> None:
    with contextlib.suppress(BadNetlink):
        assert sum(len(message.body) for message in messages(data)) <= len(data)
    with contextlib.suppress(BadNetlink):
        assert sum(len(value) for _kind, value in attributes(data)) <= len(data)


@pytest.mark.parametrize("cut", [1, 15, 17])
def test_a_message_that_is_cut_off_is_bad(cut: int) -> None:
    with pytest.raises(BadNetlink):
        list(messages(encode(16, 0, 1, b"body")[:cut]))


def test_a_text_ends_at_its_zero() -> None:
    assert text(b"eth0\0\xff") == "eth0"
    assert text(b"\xff") == "\N{REPLACEMENT CHARACTER}"

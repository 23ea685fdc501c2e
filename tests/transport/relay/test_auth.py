"""The login token: the vectors, and each way to be refused, in the order of relay spec 4.5."""

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.files import read_relay_token
from config.keys import Secret
from config.schema import RelayCredentials
from tests.transport.relay.vectors import message, vectors
from transport.relay.auth import (
    TOKEN_TTL_S,
    TokenRefused,
    check_token,
    expiry_of,
    key_of,
    login_token,
    make_token,
)

SECRET = Secret(b"relay-demo-secret")
KEY = key_of(SECRET)
EXPIRY_UNIX_S = 4102444800


def signed(expiry: bytes, algorithm: int = 1) -> bytes:
    return bytes((algorithm,)) + hmac.digest(KEY.value, expiry, hashlib.sha256) + expiry


def test_the_key_is_the_raw_digest_of_the_secrets_text() -> None:
    assert KEY.value == message("key")


def test_a_token_is_made_from_the_secret() -> None:
    vector = vectors()["token"]
    assert make_token(KEY, vector["issued_unix_s"], vector["ttl_s"]).value == message("token")


def test_a_token_is_made_from_what_was_issued(tmp_path: Path) -> None:
    vector, file = vectors()["token"], tmp_path / "relay.token"
    file.touch(0o600)
    file.write_text(f"{vector['payload']} {vector['signature']}\n")
    token = read_relay_token(file)
    assert token.value == message("token")
    assert expiry_of(token) == EXPIRY_UNIX_S


def test_a_good_token_is_good_up_to_its_last_second() -> None:
    check_token(message("token"), KEY, EXPIRY_UNIX_S + 0.9)
    with pytest.raises(TokenRefused, match="expired 1 s ago"):
        check_token(message("token"), KEY, EXPIRY_UNIX_S + 1)


@pytest.mark.parametrize("expiry", [b"+4102444800", b"0000004102444800"])
def test_signs_and_leading_zeros_are_numbers(expiry: bytes) -> None:
    check_token(signed(expiry), KEY, 0)


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (b"", "empty"),
        (b"\x01" + bytes(31), "too short"),
        (b"\x01" + bytes(32) + b"123456789", "9 characters"),
        (b"\x02" + b"123456789", "9 characters"),
        (signed(b"4102444800", algorithm=2), "unknown algorithm 2"),
        (signed(b"4102444800")[:-1] + b"1", "another secret"),
        (signed(b"soon, I promise"), "no number"),
        (signed(b"9" * 30), "no number"),
        (signed(b"-4102444800"), "expired"),
        (b"\x01" + bytes(32) + b"healthcheck", "another secret"),
    ],
)
def test_what_is_wrong_with_a_token_is_told_in_order(token: bytes, says: str) -> None:
    with pytest.raises(TokenRefused, match=says):
        check_token(token, KEY, 0)


def test_another_secret_is_refused() -> None:
    with pytest.raises(TokenRefused, match="another secret"):
        check_token(make_token(key_of(Secret(b"other")), 2e9).value, KEY, 2e9)


def test_our_own_token_survives_a_clock_that_is_a_day_behind() -> None:
    token = login_token(RelayCredentials(secret=SECRET), 1_000_000_000.0 - 86_400)
    check_token(token.value, KEY, 1_000_000_000.0)
    assert TOKEN_TTL_S > 86_400


def test_an_issued_token_is_used_as_it_is() -> None:
    assert login_token(RelayCredentials(token=Secret(b"issued")), 5.0) == Secret(b"issued")


@given(st.binary(max_size=180))
def test_no_forged_token_passes_and_none_breaks_the_check(token: bytes) -> None:
    with pytest.raises(TokenRefused):
        check_token(token, KEY, 0)
    expiry_of(Secret(token))


@given(st.binary(max_size=140))
def test_any_signed_text_is_judged(expiry: bytes) -> None:
    try:
        check_token(signed(expiry), KEY, 0)
    except TokenRefused:
        return
    assert int(expiry) >= 0

"""The constants against the whitepaper's and the protocol's own numbers."""

import hashlib

from wg import constants, messages


def test_timers_and_limits_are_those_of_section_6_1() -> None:
    assert (constants.REKEY_AFTER_TIME, constants.REJECT_AFTER_TIME) == (120, 180)
    assert (constants.REKEY_ATTEMPT_TIME, constants.REKEY_TIMEOUT, constants.KEEPALIVE_TIMEOUT) == (90, 5, 10)
    assert constants.REKEY_AFTER_MESSAGES == 1 << 60
    assert constants.REJECT_AFTER_MESSAGES == (1 << 64) - (1 << 13) - 1


def test_no_counter_of_the_window_can_wrap() -> None:
    assert constants.REJECT_AFTER_MESSAGES + constants.WINDOW_LEN < 1 << 64


def test_messages_have_the_sizes_of_the_protocol() -> None:
    assert (messages.INITIATION.size, messages.RESPONSE.size, messages.COOKIE_REPLY.size) == (148, 92, 64)
    assert constants.TRANSPORT_HEADER_LEN == 16
    assert constants.TRANSPORT_OVERHEAD == 32


def test_the_labels_hash_to_the_well_known_initial_values() -> None:
    chain = hashlib.blake2s(constants.CONSTRUCTION).digest()
    assert chain.hex() == "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36"
    transcript = hashlib.blake2s(chain + constants.IDENTIFIER).digest()
    assert transcript.hex() == "2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3"

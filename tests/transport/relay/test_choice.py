"""By which transports a server is dialled, in virtual time."""

import pytest

from transport.relay.choice import NOT_TRUSTED, Choice, Mode, Transports
from transport.relay.fallback import FIRST_S

CLEAR, SECURE = "rel://relay.example:80", "rels://relay.example:443"
NOW = 50.0


@pytest.mark.parametrize(
    ("mode", "trusted", "url", "choice"),
    [
        ("ws", True, SECURE, Choice(("ws",))),
        ("ws", False, CLEAR, Choice(("ws",))),
        ("auto", False, SECURE, Choice(("quic", "ws"))),
        ("auto", True, CLEAR, Choice(("quic", "ws"))),
        ("auto", False, CLEAR, Choice(("ws",), NOT_TRUSTED)),
        ("quic", False, SECURE, Choice(("quic",))),
        ("quic", True, CLEAR, Choice(("quic",))),
        ("quic", False, CLEAR, Choice((), NOT_TRUSTED)),
    ],
)
def test_what_is_wanted_and_what_quic_needs(mode: Mode, trusted: bool, url: str, choice: Choice) -> None:
    assert Transports(mode, trusted=trusted).choose(url, NOW) == choice


def test_quic_is_left_out_for_a_while_where_it_failed_and_there_alone() -> None:
    transports = Transports("auto", trusted=True)
    transports.quic_failed(SECURE, "too narrow", NOW)
    assert transports.choose(SECURE, NOW + FIRST_S - 1) == Choice(("ws",), "too narrow")
    assert transports.choose(CLEAR, NOW).transports == ("quic", "ws")
    assert transports.choose(SECURE, NOW + FIRST_S) == Choice(("quic", "ws"))


def test_pinned_quic_never_falls_back() -> None:
    transports = Transports("quic", trusted=True)
    transports.quic_failed(SECURE, "too narrow", NOW)
    assert transports.choose(SECURE, NOW) == Choice(("quic",))

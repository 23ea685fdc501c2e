"""The words by which an explanation knows a reason are the words that are said."""

from pathlib import Path

import pytest

from actors.trace.causes import ANOTHER_SESSION, DISPLACED, REFUSED, SAID_CLOSE, SILENT_LINK
from actors.trace.explain import NEVER_UP, REFUSED_LOGIN
from actors.trace.facts import seen_from_outside
from transport.signal import reasons

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("words", "said_in"),
    [
        (SILENT_LINK[0], "transport/relay/client.py"),
        (SILENT_LINK[2], "transport/signal/client.py"),
        (SILENT_LINK[3], "transport/drivers/quic_client.py"),
        (SAID_CLOSE, "transport/relay/client.py"),
        (REFUSED_LOGIN, "transport/relay/client.py"),
        (ANOTHER_SESSION, "actors/peer/ice_worker.py"),
        ("looks like {after} from outside, after {before}", "actors/packet/ice_agents.py"),
    ],
)
def test_the_words_are_said_where_they_come_from(words: str, said_in: str) -> None:
    assert words in (ROOT / said_in).read_text()


@pytest.mark.parametrize("words", NEVER_UP)
def test_the_words_of_a_status_are_said_by_an_actor(words: str) -> None:
    assert any(words in path.read_text() for path in (ROOT / "actors").rglob("*.py") if "trace" not in path.parts)


def test_the_reasons_of_the_signal_link() -> None:
    def reason(code: str, details: str) -> str:
        return reasons.explain(code, details, "203.0.113.1", 10000, 0.0)

    assert reason("UNKNOWN", reasons.DISPLACED).startswith(DISPLACED)
    assert REFUSED in reason("UNAVAILABLE", "connect: Connection refused")
    assert SILENT_LINK[1] in reason("UNAVAILABLE", "keepalive watchdog timeout")


def test_an_endpoint_that_changed_is_read() -> None:
    text = "192.168.1.2 looks like 198.51.100.3:51820 from outside, after [2001:db8::1]:51820"
    assert seen_from_outside(text) == ("[2001:db8::1]:51820", "198.51.100.3:51820")
    assert seen_from_outside("our addresses are none") is None

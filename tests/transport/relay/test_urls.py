"""Relay URLs as they are written, dialled and told (relay spec 2.1, 5.7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.relay.urls import InvalidRelayUrl, RelayUrl, instance_url, parse_relay_url


@pytest.mark.parametrize(
    ("text", "parts", "dialled", "named"),
    [
        ("rel://relay.example", RelayUrl(False, "relay.example", 80), "ws://relay.example/relay", True),
        ("rels://relay.example", RelayUrl(True, "relay.example", 443), "wss://relay.example/relay", True),
        ("rels://h:9300/x?y=1", RelayUrl(True, "h", 9300, "y=1"), "wss://h:9300/relay?y=1", True),
        ("rel://[2001:db8::1]:81", RelayUrl(False, "2001:db8::1", 81), "ws://[2001:db8::1]:81/relay", False),
        ("rel://192.0.2.1:443", RelayUrl(False, "192.0.2.1", 443), "ws://192.0.2.1:443/relay", False),
    ],
)
def test_a_relay_url_says_what_to_dial(text: str, parts: RelayUrl, dialled: str, named: bool) -> None:
    assert parse_relay_url(text) == parts
    assert parts.websocket_url == dialled
    assert parts.named == named


@pytest.mark.parametrize(
    "text", ["", "h:443", "ws://h", "rel://", "rel://h:0", "rel://h:70000", "rel://a b", "rel://[::1"]
)
def test_a_wrong_url_is_refused_with_what_would_do(text: str) -> None:
    with pytest.raises(InvalidRelayUrl, match="would do"):
        parse_relay_url(text)


@pytest.mark.parametrize(
    ("exposed", "tls", "told"),
    [
        ("example.com", True, "rels://example.com"),
        ("example.com", False, "rel://example.com"),
        ("rel://example.com", False, "rel://example.com"),
        ("rels://example.com:9300", True, "rels://example.com:9300"),
        ("rels://example.com:9300", False, "rels://example.com:9300"),  # TLS ends at a proxy
    ],
)
def test_the_instance_url_is_the_exposed_address_with_its_scheme(exposed: str, tls: bool, told: str) -> None:
    assert instance_url(exposed, tls=tls) == told


@pytest.mark.parametrize(("exposed", "tls"), [("rel://example.com", True), ("a://b://c", False), ("http://x", False)])
def test_an_exposed_address_that_contradicts_itself_is_refused(exposed: str, tls: bool) -> None:
    with pytest.raises(InvalidRelayUrl):
        instance_url(exposed, tls=tls)


@given(st.one_of(st.text(max_size=60), st.text(max_size=60).map(lambda rest: "rels://" + rest)))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        parsed = parse_relay_url(text)
    except InvalidRelayUrl:
        return
    assert 0 < parsed.port < 65536

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.signal.reasons import DISPLACED, explain, is_displacement

PREFIX = "failed to connect to all addresses; last error: UNKNOWN: ipv4:192.0.2.1:443: "
VERIFY = "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"


@pytest.mark.parametrize(
    ("details", "told"),
    [
        (
            f"{VERIFY}CERTIFICATE_VERIFY_FAILED: certificate has expired: OK",
            "expired by this machine's clock (2026-01-02",
        ),
        (
            f"{VERIFY}CERTIFICATE_VERIFY_FAILED: certificate is not yet valid: OK",
            "not valid yet by this machine's clock",
        ),
        (f"{VERIFY}CERTIFICATE_VERIFY_FAILED: self signed certificate: OK", "signed by itself"),
        (
            f"{VERIFY}CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate: OK",
            "not from a trusted authority",
        ),
        (
            "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1a000064:ECDSA routines:"
            "OPENSSL_internal:BAD_SIGNATURE: certificate signature failure",
            "not from a trusted authority, though it names one",
        ),
        (f"{VERIFY}WRONG_VERSION_NUMBER: Invalid certificate verification context: OK", "http://"),
        (f"{VERIFY}SOMETHING_NEW", "SOMETHING_NEW"),
        (
            "Custom verification check failed with error: UNAUTHENTICATED: Hostname Verification Check failed.",
            "signal.test",
        ),
    ],
)
def test_a_tls_failure_names_the_certificate_s_problem(details: str, told: str) -> None:
    reason = explain("UNAVAILABLE", PREFIX + details, "signal.test", 443, 1767312000.0)
    assert reason.startswith("TLS failure: ")
    assert told in reason


@pytest.mark.parametrize(
    ("code", "details", "told"),
    [
        (
            "UNAVAILABLE",
            f"{PREFIX}Failed to connect to remote host: Connection refused",
            "unreachable: signal.test:443: nothing",
        ),
        (
            "UNAVAILABLE",
            "errors resolving x:1: [field:hostname lookup error:DNS: Domain name not found]",
            "name is unknown",
        ),
        ("UNAVAILABLE", f"{PREFIX}Socket closed", "https://"),
        ("UNAVAILABLE", "keepalive watchdog timeout", "silent"),
        ("UNAVAILABLE", "something new", "unreachable: signal.test:443: something new"),
        ("UNIMPLEMENTED", "Method not found!", "no signal server"),
        ("UNKNOWN", DISPLACED, "another client registered with our key"),
        ("OK", "", "the server ended the stream"),
        ("INTERNAL", "broken", "INTERNAL broken"),
    ],
)
def test_other_failures_say_what_was_seen(code: str, details: str, told: str) -> None:
    assert told in explain(code, details, "signal.test", 443, 0.0)


def test_a_server_that_had_us_registered_is_not_suspected_of_tls() -> None:
    reason = explain("UNAVAILABLE", f"{PREFIX}Socket closed", "signal.test", 443, 0.0, greeted=True)
    assert reason == "unreachable: signal.test:443: the connection was closed"


def test_only_the_spec_s_status_is_a_displacement() -> None:
    assert is_displacement("UNKNOWN", DISPLACED)
    assert not is_displacement("UNAVAILABLE", DISPLACED)
    assert not is_displacement("UNKNOWN", "peer already registered")


@given(st.sampled_from(["UNAVAILABLE", "UNKNOWN", "OK", "INTERNAL"]), st.text(max_size=500))
def test_a_reason_is_one_short_printable_line(code: str, details: str) -> None:
    reason = explain(code, details, "signal.test", 443, 0.0)
    assert reason.isprintable()
    assert len(reason) < 300

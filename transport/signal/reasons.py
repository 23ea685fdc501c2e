"""Why a signal link failed, in a line for the operator: from a gRPC status and what the core says with it."""

import re
from datetime import UTC, datetime

DISPLACED = "peer registered again"  # signal spec 2.6
MAX_DETAIL_LEN = 160  # characters

# What the core's texts contain, and what they mean; {target} is filled in.
TLS_FAILURES = (
    ("certificate has expired", "the server's certificate has expired by this machine's clock ({clock})"),
    ("certificate is not yet valid", "the server's certificate is not valid yet by this machine's clock ({clock})"),
    ("Hostname Verification Check failed", "the server's certificate is not for {host}"),
    ("self signed certificate", "the server's certificate is signed by itself, not by a trusted authority"),
    ("unable to get local issuer certificate", "the server's certificate is not from a trusted authority"),
    ("BAD_SIGNATURE", "the server's certificate is not from a trusted authority, though it names one"),
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS; http:// would be the scheme for it"),
    ("Failed to create security handshaker", "the CA file holds no certificate in PEM"),
)
NETWORK_FAILURES = (
    ("Connection refused", "nothing listens there (connection refused)"),
    ("Domain name not found", "its name is unknown (DNS)"),
    ("DNS", "its name cannot be looked up (DNS)"),
    ("No route to host", "no route to it"),
    ("Network is unreachable", "no route to it"),
    ("Connection reset", "the connection was reset"),
    ("Socket closed", "the connection was closed"),
    ("keepalive", "the connection went silent"),
    ("ping timeout", "the connection went silent"),
)


def is_displacement(code: str, details: str) -> bool:
    """Tell whether a stream ended because a newer one registered under the same key."""
    return code == "UNKNOWN" and details == DISPLACED


def explain(code: str, details: str, host: str, port: int, unix_s: float, *, greeted: bool = False) -> str:
    """Return one line for a status; `code` is its name, such as UNAVAILABLE.

    `greeted`: the server had us registered, so that it speaks as we do.
    """
    clock = datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    for sign, text in TLS_FAILURES:
        if sign in details:
            return f"TLS failure: {text.format(clock=clock, host=host)}"
    if "Tls handshake failed" in details or "verification check failed" in details:
        return f"TLS failure: {_last_part(details)}"
    if is_displacement(code, details):
        return "replaced: another client registered with our key; do two agents have it?"
    for sign, text in NETWORK_FAILURES:
        if sign in details:
            hint = "; if the server wants TLS, https:// is the scheme for it"
            return f"unreachable: {host}:{port}: {text}{hint if sign == 'Socket closed' and not greeted else ''}"
    match code:
        case "UNAVAILABLE":
            return f"unreachable: {host}:{port}: {_last_part(details)}"
        case "UNIMPLEMENTED":
            return f"{host}:{port} is no signal server: it does not know the method"
        case "OK":
            return "the server ended the stream"
        case _:
            return f"the server ended the stream: {code} {_last_part(details)}".rstrip()


def _last_part(details: str) -> str:
    text = re.sub(r"[^\x20-\x7e]+", " ", details.rsplit("last error: ", 1)[-1])
    return text[:MAX_DETAIL_LEN].strip()

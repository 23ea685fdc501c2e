"""TLS contexts, whom a client trusts, and one plain line about a certificate that was refused."""

import asyncio
import hashlib
import hmac
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

DIAGNOSIS_TIMEOUT_S: Final = 3.0

# OpenSSL's verification results (x509_vfy.h) that an operator can do something about.
NOT_YET_VALID: Final = 9
EXPIRED: Final = 10
NOT_TRUSTED: Final = frozenset({18, 19, 20, 21})
WRONG_NAME: Final = frozenset({62, 64})

NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, a flag that the ssl module has no name for


class UnusableCertificate(Exception):
    """A certificate file cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which servers a client believes: those that a CA vouches for, or, if any is named, one of these certificates."""

    ca: bytes | None = None  # PEM; None: the system's roots
    fingerprints: tuple[bytes, ...] = ()  # SHA-256 of a certificate, 32 bytes each; name and dates then do not matter

    def pins(self, certificate: bytes | None) -> bool:
        """Return whether this certificate (DER) is one of those named."""
        seen = fingerprint(certificate or b"")
        return any(hmac.compare_digest(seen, named) for named in self.fingerprints)


def fingerprint(certificate: bytes) -> bytes:
    """Return the SHA-256 of a certificate (DER), 32 bytes."""
    return hashlib.sha256(certificate).digest()


def not_pinned(certificate: bytes | None, named: Iterable[bytes]) -> str:
    """Return in one line that a server showed another certificate than those named, and what would do."""
    seen = f"sha256:{fingerprint(certificate).hex()}" if certificate else "none"
    wanted = " or ".join(print_.hex()[:16] + "…" for print_ in named)
    would_do = "if the server is yours, name it in [relay] fingerprints"
    return f"the server's certificate has the fingerprint {seen}, not {wanted}; {would_do}"


def client_context(ca: bytes | None) -> ssl.SSLContext:
    """Return the TLS context of a client that trusts these PEM certificates (None: the system's roots)."""
    context = ssl.create_default_context(cadata=ca.decode("ascii", "replace") if ca is not None else None)
    # Servers may list h2 as well, which no relay speaks (relay spec 2.2).
    context.set_alpn_protocols(["http/1.1"])
    return context


def server_context(certificate_file: str, key_file: str) -> ssl.SSLContext:
    """Return the TLS context of a server.  Raises UnusableCertificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # The empty password keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(certificate_file, key_file, password="")
    except FileNotFoundError:
        raise UnusableCertificate(f"no such file: {certificate_file} or {key_file}") from None
    except PermissionError:
        raise UnusableCertificate(f"not readable by this user: {certificate_file} or {key_file}") from None
    except ssl.SSLError as error:
        what = "the key is not the certificate's" if error.reason == "KEY_VALUES_MISMATCH" else "no PEM pair"
        raise UnusableCertificate(f"{certificate_file} and {key_file}: {what}") from None
    except OSError as error:
        raise UnusableCertificate(f"{certificate_file} and {key_file}: {error.strerror}") from None
    return context


async def certificate_fault(
    error: ssl.SSLCertVerificationError, address: str, port: int, name: str, ca: bytes | None
) -> str:
    """Return in one line why the certificate of a server was refused, and what would do."""
    if error.verify_code in {NOT_YET_VALID, EXPIRED}:
        state = "is not valid yet" if error.verify_code == NOT_YET_VALID else "has expired"
        return (
            f"the certificate of {name} {state}: {await _validity(address, port, name, ca)}this machine's clock says "
            f"{_minute(time.time())}; set the clock, or renew the certificate"
        )
    if error.verify_code in NOT_TRUSTED:
        return f"the certificate of {name} is signed by nobody we trust; name its CA in [relay] ca_file"
    if error.verify_code in WRONG_NAME:
        return f"the certificate there is not for {name}; use the name that it was made for"
    return f"the certificate of {name} was refused: {error.verify_message}"


async def _validity(address: str, port: int, name: str, ca: bytes | None) -> str:
    """Return when the server's certificate is valid, seen on a second connection that carries nothing else."""
    context = client_context(ca)
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    try:
        async with asyncio.timeout(DIAGNOSIS_TIMEOUT_S):
            _reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
            fields = writer.get_extra_info("peercert")
            writer.transport.abort()
    except (OSError, TimeoutError):
        return ""
    begins, ends = (ssl.cert_time_to_seconds(fields[at]) for at in ("notBefore", "notAfter"))
    return f"valid from {_minute(begins)} to {_minute(ends)}, "


def _minute(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M} UTC"

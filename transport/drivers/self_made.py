"""A server's own certificate, made at its first start: for clients that name its fingerprint, and for nobody else."""

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from transport.drivers.certificates import UnusableCertificate, fingerprint

KEY_FILE: Final = "relay.key"
CERTIFICATE_FILE: Final = "relay.pem"
VALID_DAYS: Final = 3650  # what is pinned is renewed by hand, so seldom
MAX_NAME_LEN: Final = 64  # of a common name


@dataclass(frozen=True, slots=True)
class SelfMade:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path
    fingerprint: bytes  # SHA-256, 32 bytes


def self_made(directory: Path, names: Iterable[str]) -> SelfMade:
    """Return the certificate kept in this directory, made for these names if there is none.

    Key first, each file written, synced and renamed, so that a crash leaves a key without a certificate at the worst,
    which the next start completes.  What is there is never replaced.  Raises UnusableCertificate.
    """
    key_path, certificate_path = directory / KEY_FILE, directory / CERTIFICATE_FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = _kept_key(key_path)
        if key is None:
            key = ec.generate_private_key(ec.SECP256R1())
            _write(key_path, _pem(key))
        try:
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        except FileNotFoundError:
            certificate = _make(key, list(names))
            _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
        except ValueError:
            raise UnusableCertificate(f"{certificate_path}: no certificate; move it away, and one is made") from None
    except FileExistsError as error:
        raise UnusableCertificate(f"{error.filename}: not a directory; name one, it is made") from None
    except OSError as error:
        raise UnusableCertificate(f"{error.filename or directory}: {error.strerror}") from None
    if certificate.public_key() != key.public_key():
        raise UnusableCertificate(f"{certificate_path} and {key_path}: the key is not the certificate's")
    if datetime.now(UTC) >= certificate.not_valid_after_utc:
        raise UnusableCertificate(f"{certificate_path}: has expired; move it away, and one is made")
    return SelfMade(certificate_path, key_path, fingerprint(certificate.public_bytes(serialization.Encoding.DER)))


def _kept_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise UnusableCertificate(f"{path}: no PEM private key; move it away, and one is made") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UnusableCertificate(f"{path}: not a key that was made here; move it away, and one is made")
    if path.stat().st_mode & 0o077:
        raise UnusableCertificate(f"{path}: readable by others: chmod 600 {path}")
    return key


def _make(key: ec.EllipticCurvePrivateKey, names: list[str]) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (names[0] if names else "relay")[:MAX_NAME_LEN])])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # a client's clock may be behind
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 whole or not at all."""
    partial = path.with_suffix(path.suffix + ".part")
    partial.unlink(missing_ok=True)  # of a crash, or somebody else's
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

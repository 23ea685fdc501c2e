"""A certificate that a server makes for itself, once."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from transport.drivers.certificates import Trust, UnusableCertificate, fingerprint, not_pinned, server_context
from transport.drivers.self_made import CERTIFICATE_FILE, KEY_FILE, self_made


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    first = self_made(tmp_path / "tls", ["relay.example", "192.0.2.7"])
    again = self_made(tmp_path / "tls", ["other.example"])
    assert again == first
    assert first.key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == [KEY_FILE, CERTIFICATE_FILE]
    assert isinstance(server_context(str(first.certificate), str(first.key)), ssl.SSLContext)
    certificate = x509.load_pem_x509_certificate(first.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["relay.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


def test_a_crash_after_the_key_is_completed_with_the_same_key(tmp_path: Path) -> None:
    made = self_made(tmp_path, [])
    key = made.key.read_bytes()
    made.certificate.unlink()
    (tmp_path / f"{CERTIFICATE_FILE}.part").write_bytes(b"half")
    again = self_made(tmp_path, ["relay.example"])
    assert made.key.read_bytes() == key
    assert again.fingerprint != made.fingerprint
    server_context(str(again.certificate), str(again.key))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (KEY_FILE, b"nonsense", "no PEM private key; move it away, and one is made"),
        (CERTIFICATE_FILE, b"nonsense", "no certificate; move it away, and one is made"),
    ],
)
def test_what_is_there_and_unusable_is_told_and_left_alone(
    tmp_path: Path, file: str, content: bytes, said: str
) -> None:
    self_made(tmp_path, [])
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UnusableCertificate, match=said):
        self_made(tmp_path, [])
    assert (tmp_path / file).read_bytes() == content


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    one, other = self_made(tmp_path / "one", []), self_made(tmp_path / "other", [])
    one.key.write_bytes(other.key.read_bytes())
    with pytest.raises(UnusableCertificate, match="the key is not the certificate's"):
        self_made(tmp_path / "one", [])


def test_a_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("")
    with pytest.raises(UnusableCertificate, match="tls: not a directory; name one, it is made"):
        self_made(tmp_path / "tls", [])


def test_a_file_that_somebody_laid_ready_for_the_key_is_not_written_to(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch(mode=0o666)
    (tmp_path / f"{KEY_FILE}.part").symlink_to(elsewhere)
    made = self_made(tmp_path, [])
    assert elsewhere.read_bytes() == b""
    assert not made.key.is_symlink()
    assert made.key.stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_can_read_is_told(tmp_path: Path) -> None:
    made = self_made(tmp_path, [])
    made.key.chmod(0o640)
    with pytest.raises(UnusableCertificate, match=f"readable by others: chmod 600 {made.key}"):
        self_made(tmp_path, [])


def test_a_pin_is_the_certificate_s_own_fingerprint_and_no_other() -> None:
    trust = Trust(fingerprints=(fingerprint(b"one"), fingerprint(b"two")))
    assert trust.pins(b"one")
    assert trust.pins(b"two")
    assert not trust.pins(b"three")
    assert not trust.pins(None)
    assert not Trust().pins(b"one")
    assert not_pinned(b"three", trust.fingerprints).endswith(
        "; if the server is yours, name it in [relay] fingerprints"
    )
    assert fingerprint(b"three").hex() in not_pinned(b"three", trust.fingerprints)

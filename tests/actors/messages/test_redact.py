from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.overflow import RULES
from actors.messages.packet import ConfigurePeer
from actors.messages.process import PeersConfigured, PeerSettings, StartPeer
from actors.messages.redact import MARK, Redactor, paths, secrets_of
from config.keys import PublicKey, Secret
from transport.signal.messages import Description, IceCredentials, OfferReceived, PostDescription

BOB = PublicKey("Ym9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm8=")
REDACTOR = Redactor(b"k" * 32)

secrets = st.binary(max_size=80)


class Nested(msgspec.Struct, tag="nested"):
    by_name: dict[str, tuple[Secret, ...]]
    either: Secret | int | None
    kind: Literal["a"] = "a"
    child: "Nested | None" = None


def description(pwd: bytes | None) -> Description:
    return Description(
        ice=None if pwd is None else IceCredentials(ufrag="abcd", pwd=Secret(pwd)),
        session=b"12345",
        listen_port=51820,
        version="0.1.0",
        relay_url=None,
        relay_ip=None,
        homing=None,
    )


def settings(secret: bytes | None) -> PeerSettings:
    key = None if secret is None else Secret(secret)
    return PeerSettings(peer=BOB, name="bob", allowed_ips=("10.0.0.2/32",), preshared_key=key)


def redacted(message: msgspec.Struct) -> bytes:
    return REDACTOR.redact(message, msgspec.msgpack.encode(message))


def messages_with(secret: bytes) -> list[msgspec.Struct]:
    return [
        OfferReceived(peer=BOB, description=description(secret), nonce=bytes(24)),
        PostDescription(peer=BOB, kind="answer", description=description(secret)),
        ConfigurePeer(peer=BOB, allowed_ips=(), persistent_keepalive_s=25, preshared_key=Secret(secret)),
        StartPeer(settings=settings(secret)),
        PeersConfigured(peers=(settings(None), settings(secret), settings(secret))),
        Nested(by_name={"x": (Secret(b"other"), Secret(secret))}, either=3),
        Nested(by_name={}, either=Secret(secret)),
        Nested(by_name={}, either=None, child=Nested(by_name={"y": (Secret(secret),)}, either=None)),
    ]


@given(secrets.filter(lambda value: len(value) > 6 and not value.startswith(MARK)))
def test_no_secret_is_left_and_the_rest_is_as_it_was(secret: bytes) -> None:
    for message in messages_with(secret):
        clean = redacted(message)
        assert msgspec.msgpack.encode(Secret(secret)) not in clean
        again = msgspec.msgpack.decode(clean, type=type(message))
        assert {one.value for one in secrets_of(again)}.isdisjoint({secret})
        assert [len(one.value) for one in secrets_of(again)] == [len(one.value) for one in secrets_of(message)]


@given(secrets)
def test_what_was_redacted_still_decodes(secret: bytes) -> None:
    for message in messages_with(secret):
        msgspec.msgpack.decode(redacted(message), type=type(message))


def test_only_the_secret_changes() -> None:
    message = OfferReceived(peer=BOB, description=description(b"s3cr3t-s3cr3t-s3cr3t"), nonce=bytes(24))
    again = msgspec.msgpack.decode(redacted(message), type=OfferReceived)
    assert again.description.ice is not None
    shown = again.description.ice.pwd.value
    assert shown.startswith(b"secret:")
    restored = msgspec.structs.replace(again, description=description(b"s3cr3t-s3cr3t-s3cr3t"))
    assert restored == message


def test_equal_secrets_look_equal_within_a_run_and_only_there() -> None:
    assert REDACTOR.placeholder(b"a" * 32) == REDACTOR.placeholder(b"a" * 32)
    assert REDACTOR.placeholder(b"a" * 32) != REDACTOR.placeholder(b"b" * 32)
    assert REDACTOR.placeholder(b"a" * 32) != Redactor(b"another run".ljust(32)).placeholder(b"a" * 32)


def test_a_message_without_a_secret_is_the_same_object() -> None:
    offer = OfferReceived(peer=BOB, description=description(None), nonce=bytes(24))
    body = msgspec.msgpack.encode(offer)
    assert REDACTOR.redact(offer, body) is body


@pytest.mark.parametrize("message_type", RULES, ids=lambda value: str(value.__name__))
def test_every_field_called_like_a_secret_is_one(message_type: type[msgspec.Struct]) -> None:
    suspicious = ("pwd", "password", "private_key", "preshared_key", "secret")
    named = [field.name for field in msgspec.structs.fields(message_type) if field.name in suspicious]
    assert all(any(path[0] == name for path in paths(message_type)) for name in named)

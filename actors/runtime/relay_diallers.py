"""How the packet process dials relay servers: which drivers there are, and what the configuration says of them."""

from functools import partial
from importlib import import_module
from typing import cast

from actors.runtime.bootstrap import Bootstrap
from actors.runtime.relay_race import Dialler
from config.schema import NodeConfig
from config.values import parse_fingerprint
from transport.drivers.websocket import dial
from transport.relay.choice import Mode, Transports
from transport.relay.frames import TRANSPORT_HEADER_LEN
from transport.relay.race import Transport

QUIC_DRIVER = "transport.drivers.quic_link"  # imported only where QUIC is wanted: aioquic costs memory and time
WIREGUARD_LEN = 32  # bytes that WireGuard adds to a packet: whitepaper section 5.4.6


def import_quic(told: Bootstrap) -> None:
    """Import what QUIC needs, if the configuration wants it."""
    if told.config.file.relay.transport != "ws":
        import_module(QUIC_DRIVER)


def relay_transports(config: NodeConfig) -> Transports:
    """Return what the configuration says of the choice between the drivers."""
    relay = config.file.relay
    mode = cast(Mode, relay.transport)  # checked by config/values.py
    return Transports(mode, trusted=bool(relay.fingerprints) or config.relay_ca is not None)


def relay_diallers(config: NodeConfig) -> dict[Transport, Dialler]:
    """Return the drivers."""
    relay = config.file.relay
    diallers: dict[Transport, Dialler] = {"ws": partial(dial, ca=config.relay_ca)}
    if relay.transport != "ws":
        fingerprints = tuple(digest for text in relay.fingerprints if (digest := parse_fingerprint(text)) is not None)
        trust = import_module("transport.drivers.certificates").Trust(config.relay_ca, fingerprints)
        message_len = TRANSPORT_HEADER_LEN + config.file.node.mtu + WIREGUARD_LEN
        diallers["quic"] = partial(import_module(QUIC_DRIVER).dial_quic, trust=trust, message_len=message_len)
    return diallers

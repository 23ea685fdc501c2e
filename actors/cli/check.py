"""`homing check`: what is wrong with a configuration, before it is run."""

import ipaddress
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from actors.cli.errors import WRONG_USE, CommandFailed
from config import rules
from config.files import token_expiry_unix_s
from config.load import ConfigError, load
from config.schema import NodeConfig

ConfigOption = Annotated[
    Path, typer.Option("-c", "--config", metavar="FILE", help="The configuration; config/example.toml explains it.")
]


def run(
    config: ConfigOption,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="Look the servers' names up too, and check the addresses found.")
    ] = False,
) -> None:
    """Check a configuration: every mistake with its key and what would do.

    Reads the files that it names as well.  HOMING_ variables count as they do for `homing up`.

    Example: homing check -c /etc/homing/home.toml --resolve
    """
    node = read(config)
    mistakes = [*_token_mistakes(node, time.time()), *(_server_mistakes(node) if resolve else [])]
    if mistakes:
        raise CommandFailed(*(f"{config}: {mistake}" for mistake in mistakes))
    peers = len(node.file.peer)
    print(f"{config}: fine: node {node.file.node.name}, {peers} peer{'' if peers == 1 else 's'}")
    print(f"public key {node.public_key}")
    if node.file.relay.transport == "auto" and (clear := rules.clear_urls(node.file)):
        print(f"note: relay.urls: {clear[0]} is reached by WebSocket only; QUIC takes {rules.QUIC_TRUST}")


def read(config: Path) -> NodeConfig:
    """Return a configuration that is right.  Raises CommandFailed, with a line for each mistake."""
    try:
        return load(config, os.environ)
    except ConfigError as error:
        raise CommandFailed(*error.mistakes, code=WRONG_USE) from None


def _token_mistakes(node: NodeConfig, now_unix_s: float) -> list[str]:
    credentials = node.relay_credentials
    if credentials is None or credentials.token is None:
        return []
    expiry = token_expiry_unix_s(credentials.token)
    if expiry >= now_unix_s:
        return []
    try:
        when = datetime.fromtimestamp(expiry, UTC).isoformat()
    except (OverflowError, ValueError):
        when = str(expiry)
    return [f"relay.token_file: the token expired at {when}; ask whoever runs the relay servers for another"]


def _server_mistakes(node: NodeConfig) -> list[str]:
    mistakes: list[str] = []
    found: dict[str, list[rules.IpAddress]] = {}
    for key, host in rules.link_hosts(node.file).items():
        try:
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no valid name"
            mistakes.append(f"{key}: {host} has no address ({reason}); a name that can be resolved here")
            continue
        found[key] = [
            ipaddress.ip_address(text) for text in sorted({str(answer[4][0]).partition("%")[0] for answer in answers})
        ]
    return mistakes + rules.swallowed(node.file, found)

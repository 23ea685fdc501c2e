"""A TOML file and the environment -> NodeConfig.  A mistake names its key and what would do; all are told at once.

Every key outside `[[peer]]` can be set from the environment as HOMING_<TABLE>_<KEY>, lists separated by commas, and
the environment wins: HOMING_NODE_NAME, HOMING_RELAY_URLS, ...  Relative paths start at the folder of the file.
"""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import structs

from config import files, rules
from config.files import UnusableFile
from config.keypairs import derive_public_key
from config.keys import PublicKey, Secret, public_key
from config.schema import ConfigFile, NodeConfig, PeerSection, RelayCredentials, Section
from config.text import one_line
from config.values import CHECKS, check_path

MAX_FILE_LEN = 4 << 20  # bytes; thousands of peers
MAX_TOLD = 20  # mistakes; the rest is counted

SECTIONS: dict[str, type[Section]] = {
    field.name: field.type for field in structs.fields(ConfigFile) if field.name != "peer"
}
OVERRIDES: dict[str, tuple[str, structs.FieldInfo]] = {
    f"HOMING_{name}_{field.name}".upper(): (name, field)
    for name, section in SECTIONS.items()
    for field in structs.fields(section)
}
"""Environment variable -> the table and the key that it overrides."""

T = TypeVar("T")
S = TypeVar("S", bound=Section)


class ConfigError(Exception):
    """The configuration cannot be used; `mistakes` is one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = tuple(one_line(mistake) for mistake in mistakes[:MAX_TOLD])
        if len(mistakes) > MAX_TOLD:
            self.mistakes += (f"and {len(mistakes) - MAX_TOLD} more mistakes",)
        super().__init__("\n".join(self.mistakes))


def load(path: Path, env: Mapping[str, str]) -> NodeConfig:
    """Read a configuration file, put the environment over it, check everything and read the files it names.

    Raises ConfigError.
    """
    tables = read_toml(path)
    reader = _Reader()
    file = reader.file(tables, env)
    config = None if file is None else reader.with_keys(file, path.parent)
    if config is None:
        raise ConfigError([f"{path}: {mistake}" for mistake in reader.mistakes])
    return config


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.  Raises ConfigError."""
    try:
        text = files.read_config_text(path, MAX_FILE_LEN).decode()
        return tomllib.loads(text)
    except UnusableFile as error:
        raise ConfigError([f"{error}; config/example.toml shows a whole one"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start} is not UTF-8; TOML is UTF-8 text"]) from None
    except RecursionError:
        raise ConfigError([f"{path}: not TOML: nested too deeply"]) from None
    except ValueError as error:  # tomllib's own error, and those of dates and numbers that it lets through
        raise ConfigError([f"{path}: not TOML: {' '.join(str(error).split())}"]) from None


class _Reader:
    """One pass over a configuration, which notes mistakes and goes on."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def file(self, tables: dict[str, Any], env: Mapping[str, str]) -> ConfigFile | None:
        """Return the whole file, or None if a part of it has not the right shape."""
        self._unknown("", tables, [*SECTIONS, "peer"])
        overrides = self._overrides(env)
        sections = {
            name: self._section(name, name, section, tables.get(name), overrides.get(name, {}))
            for name, section in SECTIONS.items()
        }
        peers = self._peers(tables.get("peer", []))
        if peers is None or any(section is None for section in sections.values()):
            return None
        return ConfigFile(**cast(dict[str, Any], sections), peer=peers)

    def with_keys(self, file: ConfigFile, directory: Path) -> NodeConfig | None:
        """Return the configuration with what its files hold, or None if there is any mistake at all."""
        relay = file.relay

        def read(reading: Callable[[Path], T], key: str, name: str | None) -> T | None:
            return None if name is None or check_path(name) is not None else self._read(reading, key, directory / name)

        private_key = read(files.read_private_key, "node.private_key_file", file.node.private_key_file)
        secret = read(files.read_relay_secret, "relay.secret_file", relay.secret_file)
        token = read(files.read_relay_token, "relay.token_file", relay.token_file)
        signal_ca = read(files.read_certificates, "signal.ca_file", file.signal.ca_file)
        relay_ca = read(files.read_certificates, "relay.ca_file", relay.ca_file)
        preshared = [
            read(files.read_private_key, f"{rules.label(peer)}.preshared_key_file", peer.preshared_key_file)
            for peer in file.peer
        ]
        own = None if private_key is None else derive_public_key(private_key)
        self.mistakes += rules.mistakes_of(file, own)
        if self.mistakes or private_key is None or own is None:
            return None
        peers = tuple(structs.replace(peer, public_key=public_key(peer.public_key)) for peer in file.peer)
        return NodeConfig(
            file=structs.replace(file, peer=peers),
            private_key=private_key,
            public_key=own,
            relay_credentials=_credentials(secret, token),
            preshared_keys={
                PublicKey(peer.public_key): key for peer, key in zip(peers, preshared, strict=True) if key is not None
            },
            signal_ca=signal_ca,
            relay_ca=relay_ca,
        )

    def _overrides(self, env: Mapping[str, str]) -> dict[str, dict[str, tuple[str, Any]]]:
        """Return what the environment sets: table -> key -> variable and value."""
        found: dict[str, dict[str, tuple[str, Any]]] = {}
        prefixes = tuple(f"HOMING_{name}_".upper() for name in SECTIONS)
        for variable in sorted(name for name in env if name.startswith(prefixes)):
            if variable not in OVERRIDES:
                self.mistakes.append(f"{variable}: no such override{_nearest(variable, list(OVERRIDES))}")
                continue
            if not _is_text(env[variable]):
                self.mistakes.append(f"{variable}: not UTF-8; text")
                continue
            table, field = OVERRIDES[variable]
            found.setdefault(table, {})[field.name] = (variable, _from_text(env[variable], field.type))
        return found

    def _section(
        self, check: str, label: str, section: type[S], table: object, overrides: Mapping[str, tuple[str, Any]]
    ) -> S | None:
        """Return a table as its record; `check` names it in CHECKS, `label` in mistakes."""
        if table is None:
            table = {}
        if not isinstance(table, dict):
            self.mistakes.append(f"{label}: {type(table).__name__}; a table, [{label}]")
            return None
        fields = {field.name: field for field in structs.fields(section)}
        self._unknown(f"{label}.", table, list(fields))
        values: dict[str, Any] = {}
        complete = True
        for name, field in fields.items():
            key, value, strict = f"{label}.{name}", table.get(name, msgspec.NODEFAULT), True
            if name in overrides:
                (key, value), strict = overrides[name], False
            if value is msgspec.NODEFAULT:
                if field.required:
                    self.mistakes.append(f"{key}: missing; it has no default")
                    complete = False
                continue
            try:
                values[name] = msgspec.convert(value, field.type, strict=strict)
            except msgspec.ValidationError as error:
                self.mistakes.append(_mistyped(key, error))
                complete = False
                continue
            complaint = CHECKS.get(f"{check}.{name}", lambda _: None)(values[name])
            if complaint is not None:
                self.mistakes.append(f"{key}: {complaint}")
        return section(**values) if complete else None

    def _peers(self, tables: object) -> tuple[PeerSection, ...] | None:
        if not isinstance(tables, list):
            self.mistakes.append(f"peer: {type(tables).__name__}; tables, each under its own [[peer]]")
            return None
        peers = []
        for index, table in enumerate(tables, start=1):
            label = rules.peer_label(index, table.get("name") if isinstance(table, dict) else None)
            peers.append(self._section("peer", label, PeerSection, table, {}))
        return None if None in peers else tuple(peer for peer in peers if peer is not None)

    def _read(self, read: Callable[[Path], T], key: str, path: Path) -> T | None:
        try:
            return read(path)
        except UnusableFile as error:
            self.mistakes.append(f"{key}: {error}")
            return None

    def _unknown(self, prefix: str, table: dict[str, Any], known: list[str]) -> None:
        for key in table:
            if key not in known:
                shown = ascii(key[:40])[1:-1]
                self.mistakes.append(f"{prefix}{shown}: unknown key{_nearest(key, known)}")


def _credentials(secret: Secret | None, token: Secret | None) -> RelayCredentials | None:
    return None if secret is None and token is None else RelayCredentials(secret=secret, token=token)


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of the environment that are not UTF-8 arrive as lone surrogates
        return False
    return True


def _from_text(text: str, kind: Any) -> Any:
    """Return the text of a variable as what its key takes; msgspec reads the numbers and booleans in it."""
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    optional = isinstance(kind, UnionType) and type(None) in get_args(kind)
    return None if optional and not text else text


def _mistyped(key: str, error: msgspec.ValidationError) -> str:
    # "Expected `int`, got `str` - at `$[0]`": the place inside the value belongs to the key.
    what, _, place = str(error).replace("`", "").partition(" - at $")
    return f"{key}{place}: {what[:1].lower()}{what[1:]}"

"""What a configuration file may hold: frozen records with defaults and units.

`config/example.toml` explains every key.
"""

import msgspec

from config.keys import PublicKey, Secret


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file; unknown keys are errors."""


class NodeSection(Section, frozen=True, kw_only=True):
    """`[node]`: this machine."""

    name: str  # also names the run directory: letters, digits, dash, underscore
    private_key_file: str
    addresses: tuple[str, ...]  # in the network, with prefix length: "10.77.0.1/24"
    interface: str = "homing0"  # at most 15 characters
    listen_port: int = 51820  # UDP; 0: the kernel picks one
    mtu: int = 1280  # bytes, 576 to 9000
    user: str | None = None  # control and packet processes run as; None: `homing` if it exists, else the caller
    run_directory: str = "/run/homing"  # sockets and snapshots, below it a directory per node
    state_directory: str = (
        "/var/lib/homing"  # what survives a reboot (handshake timestamps), below it a directory per node
    )


class WireguardSection(Section, frozen=True, kw_only=True):
    """`[wireguard]`."""

    backend: str = "embedded"  # the only one so far


class SignalSection(Section, frozen=True, kw_only=True):
    """`[signal]`."""

    url: str  # http://host:port, or https://host:port for TLS
    ca_file: str | None = None  # PEM; None: the system's roots


class RelaySection(Section, frozen=True, kw_only=True):
    """`[relay]`.  With urls, either `secret_file` (shared with the servers) or `token_file` (issued from it)."""

    urls: tuple[str, ...] = ()  # rel://host:port, or rels://host:port for TLS
    transport: str = "ws"  # auto, ws, quic
    fingerprints: tuple[str, ...] = ()  # "sha256:<64 hex digits>" of certificates that QUIC trusts; no CA is asked then
    secret_file: str | None = None
    token_file: str | None = None  # "<expiry digits> <base64 signature>"
    ca_file: str | None = None


class StunSection(Section, frozen=True, kw_only=True):
    """`[stun]`: servers that tell how we look from outside."""

    servers: tuple[str, ...] = ()  # host:port, at most 4


class IceSection(Section, frozen=True, kw_only=True):
    """`[ice]`: direct paths."""

    enabled: bool = True
    interfaces: tuple[str, ...] = ()  # whose addresses are offered, `*` stands for any characters; (): all usable


class LogSection(Section, frozen=True, kw_only=True):
    """`[log]`, to standard error."""

    level: str = "info"  # debug, info, warning, error
    json: bool = False  # one JSON object a line


class MetricsSection(Section, frozen=True, kw_only=True):
    """`[metrics]`, for Prometheus."""

    listen: str | None = None  # "9586" (this machine alone) or "IP:9586"; None: not served


class RuntimeSection(Section, frozen=True, kw_only=True):
    """`[runtime]`."""

    control_processes: int = 1  # more than one: peers are spread over them


class PeerSection(Section, frozen=True, kw_only=True):
    """`[[peer]]`."""

    name: str
    public_key: str
    allowed_ips: tuple[str, ...]
    persistent_keepalive: int = 25  # s; 0: off
    preshared_key_file: str | None = None


class ConfigFile(Section, frozen=True, kw_only=True):
    """The whole file."""

    node: NodeSection
    signal: SignalSection
    relay: RelaySection = RelaySection()
    stun: StunSection = StunSection()
    ice: IceSection = IceSection()
    wireguard: WireguardSection = WireguardSection()
    log: LogSection = LogSection()
    metrics: MetricsSection = MetricsSection()
    runtime: RuntimeSection = RuntimeSection()
    peer: tuple[PeerSection, ...] = ()


class RelayCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """How we log in to relay servers: exactly one of the two."""

    secret: Secret | None = None  # the shared text; tokens are made from it at each login
    token: Secret | None = None  # the Auth payload (relay spec 4.2), as issued


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that has been checked, with the keys that its files hold."""

    file: ConfigFile
    private_key: Secret
    public_key: PublicKey
    relay_credentials: RelayCredentials | None
    preshared_keys: dict[PublicKey, Secret]
    signal_ca: bytes | None = None  # PEM, of `[signal] ca_file`: read before privileges are dropped
    relay_ca: bytes | None = None

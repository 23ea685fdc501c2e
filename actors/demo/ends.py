"""The hosts that meet in a demo network, and what their agents' configuration files say."""

import base64
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from actors.demo.network import Host

CONFIG = """\
[node]
name = "{name}"
private_key_file = "{directory}/{name}.key"
addresses = ["{address}/24"]
run_directory = "{directory}/run"
state_directory = "{directory}/state"

[signal]
url = "{signal_url}"

[relay]
urls = [{relay_urls}]
secret_file = "{directory}/relay.secret"
{more}"""

PEER = """
[[peer]]
name = "{name}"
public_key = "{public_key}"
allowed_ips = ["{address}/32"]
"""


@dataclass
class End:
    """One of the hosts."""

    name: str
    address: str  # in the tunnel
    host: Host
    private_key: bytes
    agent: "subprocess.Popen[str] | None" = None
    flow: "subprocess.Popen[str] | None" = None

    @property
    def public_key(self) -> str:
        """Return the base64 text of the public key."""
        public = X25519PrivateKey.from_private_bytes(self.private_key).public_key()
        return base64.b64encode(public.public_bytes_raw()).decode()


def config_text(
    end: End, others: Sequence[End], directory: Path, *, signal_url: str, relay_urls: Sequence[str], more: str
) -> str:
    """Return the configuration of an end whose peers are `others`; `more` is added to it as it is."""
    text = CONFIG.format(
        name=end.name,
        directory=directory,
        address=end.address,
        signal_url=signal_url,
        relay_urls=", ".join(f'"{url}"' for url in relay_urls),
        more=more,
    )
    return text + "".join(
        PEER.format(name=other.name, public_key=other.public_key, address=other.address) for other in others
    )

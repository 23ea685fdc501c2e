"""What breaks in a laboratory network, and what mends it again."""

from itertools import count
from typing import Literal

from actors.demo.network import Host
from tests.lab.topology import HUB, HUB6, UPLINK, Gate, Ground, Uplink

_numbers = count(1)

# Told apart as the agents do: a STUN message has its magic cookie 4 bytes into the UDP payload.
KINDS = {"all": "", "stun": "@th,96,32 0x2112a442 ", "wireguard": "@th,96,32 != 0x2112a442 "}


class Drop:
    """Packets that vanish at a host until `mend()`: those that one of the nft expressions describes."""

    def __init__(
        self, at: Host, *matches: str, hook: Literal["prerouting", "output"] = "prerouting", share: float = 1.0
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"a share of {share}; more than 0 and at most 1 would do")
        self._at, self._table = at, f"homing_fault_{next(_numbers)}"
        some = f"numgen random mod 10000 < {round(share * 10000)} " if share < 1 else ""
        # Before connection tracking: what vanishes on the way leaves no trace at either end.
        chain = f"type filter hook {hook} priority raw - 10; policy accept;\n"
        chain += "".join(f"{match} {some}counter drop\n" for match in matches)
        at.exec("nft", "-f", "-", stdin=f"table inet {self._table} {{\nchain {hook} {{\n{chain}}}\n}}\n")

    def mend(self) -> None:
        """Let them pass again."""
        self._at.exec("nft", "delete", "table", "inet", self._table)


def drop_udp(at: Host, kind: Literal["all", "stun", "wireguard"] = "all", *, share: float = 1.0) -> Drop:
    """Lose the UDP that comes to a host from its peers, one way; what the hub sends and a tunnel carries passes."""
    strangers = (f"ip{v} saddr != {{ {', '.join(hub)} }}" for v, hub in (("", HUB), ("6", HUB6)))
    return Drop(at, *(f'iifname "{UPLINK}" meta l4proto udp {those} {KINDS[kind]}' for those in strangers), share=share)


def flush_conntrack(gate: Gate) -> None:
    """Have a router forget every mapping."""
    gate.host.exec("conntrack", "-F")
    gate.apply()


def redial(ground: Ground, gate: Gate) -> str:
    """Give a router a new address, which no mapping outlives, and return it; hosts behind it see no change."""
    address = ground.renumber(gate.uplink)
    flush_conntrack(gate)
    return address


def cut(uplink: Uplink) -> None:
    """Pull a cable: both ends lose the carrier."""
    uplink.far_host.ip("link", "set", uplink.far_port, "down")


def mend(uplink: Uplink) -> None:
    """Plug a cable in again."""
    uplink.far_host.ip("link", "set", uplink.far_port, "up")
    uplink.set_up_far_end()

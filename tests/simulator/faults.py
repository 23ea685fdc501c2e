"""Faults as data: what, when, how long.  Names of agents are `node0`, `node1`, ...; relay servers go by number.

`at_s` counts from the start of the run; `for_s` is how long it lasts, 0 for what takes no time.
"""

from typing import Literal

import msgspec


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What all have."""

    at_s: float
    for_s: float = 0.0

    @property
    def over_s(self) -> float:
        """When it is over."""
        return self.at_s + self.for_s


class LinkAway(Fault, frozen=True, kw_only=True):
    """The link of an agent's site is away, as while a router redials."""

    agent: str
    back: Literal["same", "flushed", "new address"]
    lax: bool = False  # the router answers what it does not know with a reset


class NatChanged(Fault, frozen=True, kw_only=True):
    """The NAT before an agent has another address, or has forgotten its mappings; nobody is told."""

    agent: str
    change: Literal["flushed", "new address"]
    lax: bool = False


class AddressChanged(Fault, frozen=True, kw_only=True):
    """An interface of an agent has another address; the kernel tells."""

    agent: str


class ServerApart(Fault, frozen=True, kw_only=True):
    """Nothing gets through between an agent and a relay server, or the signal server, and no reset comes."""

    agent: str
    server: int | Literal["signal"]


class RelayRestarted(Fault, frozen=True, kw_only=True):
    """A relay server is down."""

    relay: int


class SignalRestarted(Fault, frozen=True, kw_only=True):
    """The signal server is down."""


class SignalMangled(Fault, frozen=True, kw_only=True):
    """The signal server repeats, delays and replays; each a share of the messages."""

    twice: float = 0.0
    late: float = 0.0
    again: float = 0.0


class DirectCut(Fault, frozen=True, kw_only=True):
    """Nothing gets from one agent to another directly."""

    sender: str
    receiver: str
    packets_only: bool = False  # STUN passes


class Lossy(Fault, frozen=True, kw_only=True):
    """The network loses, delays, repeats and reorders."""

    loss: float = 0.0
    jitter_s: float = 0.0
    duplication: float = 0.0


class Slept(Fault, frozen=True, kw_only=True):
    """An agent's machine is suspended."""

    agent: str


class Killed(Fault, frozen=True, kw_only=True):
    """A process of an agent ends, so many handled messages later; the supervisor starts another."""

    agent: str
    process: Literal["control-0", "packet"]
    after: int = 0


class Hung(Fault, frozen=True, kw_only=True):
    """A process is stopped (SIGSTOP).  What does not go on in time is killed."""

    agent: str
    process: Literal["control-0", "packet"]


class MailLost(Fault, frozen=True, kw_only=True):
    """Mail from the packet process to control goes missing."""

    agent: str


class ActorFailed(Fault, frozen=True, kw_only=True):
    """An actor of a peer raises."""

    agent: str
    peer: str


class PeerReset(Fault, frozen=True, kw_only=True):
    """The operator has a peer recovered (`homing reset`)."""

    agent: str
    peer: str


class OffersForced(Fault, frozen=True, kw_only=True):
    """Offers go out for no reason, from all to all."""

    every_s: float  # 0: one each, all at once


class ClockStepped(Fault, frozen=True, kw_only=True):
    """An agent's wall clock is wrong by this much from now on."""

    agent: str
    by_s: float


AnyFault = (
    LinkAway
    | NatChanged
    | AddressChanged
    | ServerApart
    | RelayRestarted
    | SignalRestarted
    | SignalMangled
    | DirectCut
    | Lossy
    | Slept
    | Killed
    | Hung
    | MailLost
    | ActorFailed
    | PeerReset
    | OffersForced
    | ClockStepped
)


def words(fault: AnyFault) -> str:
    """Return a fault as a line of Python."""
    fields = ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}"
        for name in fault.__struct_fields__
        if (value := getattr(fault, name)) not in (0.0, False)
    )
    return f"{type(fault).__name__}({fields})"

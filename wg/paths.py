"""The ways to a peer: straight to its UDP endpoint, or through a relay link."""

from typing import Literal

import msgspec

PathKind = Literal["direct", "relayed"]


class DirectPath(msgspec.Struct, frozen=True, kw_only=True, tag="direct"):
    """UDP to the peer's endpoint."""

    ip: str  # a literal without zone
    port: int
    local: str | None = None  # our address to send from; None: the kernel chooses

    kind: "PathKind" = "direct"


class RelayedPath(msgspec.Struct, frozen=True, kw_only=True, tag="relayed"):
    """Transport messages over a link to a relay server."""

    link: int  # the link's incarnation
    generation: int  # the relayed connection's incarnation

    kind: "PathKind" = "relayed"


Path = DirectPath | RelayedPath

"""What the programs of these tests say to each other, a JSON line each."""

import msgspec

from transport.ice.events import IceReport


class Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """Who an agent is."""

    ufrag: str
    pwd: str
    candidates: list[str]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Send this to the remote, if anything, and (ours) report."""

    send: str | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened: an event of ours by its name, `data`, `report`; `connected` or `failed` of theirs."""

    kind: str
    text: str = ""
    endpoint: str = ""
    report: IceReport | None = None

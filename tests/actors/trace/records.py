"""Trace records to select from and to render."""

from typing import Any

import msgspec

from actors.messages.packet import RelayedOpened
from actors.trace.record import Record
from tests.config.samples import BOB

NOW = 5_000.0


def record(message: msgspec.Struct | None = None, **changes: Any) -> Record:
    """Return a record of a delivery to bob's relay worker."""
    told = message if message is not None else RelayedOpened(peer=BOB, generation=3, link=1)
    usual: dict[str, Any] = {
        "at": NOW,
        "process": "control-0",
        "kind": "delivered",
        "to": f"peer/{BOB}/relay_worker",
        "sender": "relay_links@packet",
        "id": 41,
        "cause": 38,
        "trace": 30,
        "tag": type(told).__struct_config__.tag,
        "body": msgspec.msgpack.encode(told),
        "before": "Opening",
        "after": "Open",
        "incarnation": 7,
    }
    return Record(**{**usual, **changes})

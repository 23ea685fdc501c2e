"""One record of the trace as a line for people, or as a JSON object.

    12:00:01.123  relay_links@packet -> bob/relay_worker  relayed_opened generation=3  Opening -> Open  #41 <- #38

Peers are named as the configuration names them, others by the first 8 characters of their key.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from actors.addresses import process_actor
from actors.messages.redact import MARK
from actors.trace.record import FLAG_EXTERNAL, FLAG_TIMER, Record, fields_of
from config.keys import SHORT_LEN, PublicKey
from config.text import one_line

MAX_FIELDS_LEN = 160  # characters
MAX_VALUE_LEN = 60
MAX_DEPTH = 4
ID_DIGITS = 6  # of an id's last digits: enough to follow a cause in one's screen
PROCESS_ACTOR = process_actor("").actor
KEY = re.compile(r"[A-Za-z0-9+/]{43}=")

Names = Mapping[PublicKey, str]


def render(record: Record, names: Names, wall_offset_s: float) -> str:
    """Return the record as one line; `wall_offset_s` is wall time less boot time."""
    parts = [
        clock_time(record.at + wall_offset_s),
        f"{_sender(record, names)} -> {_receiver(record, names)}",
        " ".join([record.tag or "(undecodable)", *_fields(record, names)]),
    ]
    if record.kind != "delivered":
        parts.append(f"{record.kind.replace('_', ' ').upper()}: {record.reason or 'no reason given'}")
    elif record.before != record.after:
        parts.append(f"{record.before} -> {record.after}")
    elif record.after:
        parts.append(record.after)
    if record.id:
        parts.append(_ids(record))
    return one_line("  ".join(parts))


def as_json(record: Record, wall_offset_s: float) -> str:
    """Return the record as one JSON object."""
    whole = {
        "at": record.at,
        "time_unix_s": round(record.at + wall_offset_s, 6),
        "process": record.process,
        **({"node": record.node} if record.node else {}),
        "kind": record.kind,
        "from": record.sender,
        "to": record.to,
        "type": record.tag,
        "fields": {name: plain(value) for name, value in fields_of(record).items()},
        "before": record.before,
        "after": record.after,
        "reason": record.reason,
        "id": record.id,
        "cause": record.cause,
        "trace": record.trace,
        "timer": bool(record.flags & FLAG_TIMER),
        "sent_at": record.sent_at,
        "service_s": record.service_s,
    }
    return msgspec.json.encode(whole).decode()


def clock_time(unix_s: float) -> str:
    """Return the local time of day with milliseconds."""
    try:
        return datetime.fromtimestamp(unix_s).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except (OverflowError, ValueError, OSError):
        return "??:??:??.???"


def _sender(record: Record, names: Names) -> str:
    if record.flags & FLAG_TIMER:
        return "timer"
    if not record.sender or record.flags & FLAG_EXTERNAL:
        outside = f" {record.sender}" if record.sender else ""
        return f"outside{outside}"
    name, _, process = record.sender.rpartition("@")
    # Where it came from matters when it crossed from one process to another.
    told = on_node(record, actor_name(name, names))
    return told + (f"@{process}" if process != record.process or name == PROCESS_ACTOR else "")


def _receiver(record: Record, names: Names) -> str:
    if record.to == PROCESS_ACTOR:
        return on_node(record, f"{record.to}@{record.process}")  # every process has one of that name
    return on_node(record, actor_name(record.to, names) or record.process)


def fields_text(record: Record, names: Names) -> str:
    """Return the message's fields as `name=value`, without the peer that the receiver's name says."""
    return " ".join(_fields(record, names))


def on_node(record: Record, actor: str) -> str:
    """Return an actor's name with its node before it, on a tape that joins two: `alice:bob/guard`."""
    return f"{record.node}:{actor}" if record.node and ":" not in actor else actor


def actor_name(name: str, names: Names) -> str:
    """Return an actor's name with its peer's name in it."""
    rest, _, role = name.rpartition("/")  # a key may hold slashes itself
    kind, _, key = rest.partition("/")
    return f"{_peer(key, names)}/{role}" if kind == "peer" else name


def _peer(key: str, names: Names) -> str:
    return names.get(PublicKey(key)) or key[:SHORT_LEN]


def _fields(record: Record, names: Names) -> list[str]:
    texts: list[str] = []
    length = 0
    for name, value in fields_of(record).items():
        if name == "peer" and f"peer/{value}/" in f"{record.to}/":
            continue  # said by the receiver's name
        if name.endswith("_at") and isinstance(value, float):
            text = f"{name[:-3]}={value - record.at:+.3f}s"
        else:
            text = f"{name}={_value(value, names)}"
        length += len(text) + 1
        if length > MAX_FIELDS_LEN:
            return [*texts, "..."]
        texts.append(text)
    return texts


def _value(value: object, names: Names, depth: int = 0) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".") if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, dict | list) and depth == MAX_DEPTH:
        return "..."
    if isinstance(value, dict):
        inner = ",".join(f"{name}={_value(part, names, depth + 1)}" for name, part in value.items())
        return _cut(f"{{{inner}}}")
    if isinstance(value, list):
        inner = ",".join(_value(part, names, depth + 1) for part in value)
        # A secret is an array of one: its placeholder needs no brackets.
        return inner if len(value) == 1 and _is_secret(value[0]) else _cut(f"[{inner}]")
    text = _cut(KEY.sub(lambda key: _peer(key[0], names), str(value)))
    return f'"{text}"' if text == "" or " " in text else text


def _bytes(value: bytes) -> str:
    if _is_secret(value):
        return f"<secret {value[len(MARK) :][:4].decode('ascii', 'replace')}>"
    return value.hex() if len(value) <= SHORT_LEN else f"{value[:4].hex()}...({len(value)} bytes)"


def _is_secret(value: object) -> bool:
    return isinstance(value, bytes) and value.startswith(MARK)


def plain(value: object) -> Any:
    """Return a field's value as JSON has it: bytes as hex, a secret as its placeholder."""
    if isinstance(value, bytes):
        return _bytes(value) if _is_secret(value) else value.hex()
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return plain(value[0]) if len(value) == 1 and _is_secret(value[0]) else [plain(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _ids(record: Record) -> str:
    own = f"#{record.id % 10**ID_DIGITS}"
    return f"{own} <- #{record.cause % 10**ID_DIGITS}" if record.cause else own


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE_LEN else f"{text[:MAX_VALUE_LEN]}..."

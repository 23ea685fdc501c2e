"""The parts of a bug report: read from a run directory, stripped of what tells who and where, and cut to size."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import structs

from actors import addresses
from actors.cli import host
from actors.cli.report import Report, make_report, names_of
from actors.cli.running import Agent, boot_now
from actors.cli.status import lines
from actors.cli.why import lines as explained
from actors.cli.why import standing_of
from actors.effects import Address
from actors.messages.overflow import TYPE_OF
from actors.messages.pseudonyms import Pseudonyms
from actors.messages.status import Snapshot
from actors.runtime.snapshot import CONFIGURATION
from actors.trace.explain import Explanation, explain
from actors.trace.live import read_rings
from actors.trace.record import Record, encode_record, fields_of
from actors.trace.render import render
from actors.trace.select import newest
from actors.trace.tape import Header, encode_header
from config.keys import PublicKey
from config.schema import ConfigFile
from config.tail import read_tail
from config.text import one_line

RING_LIMIT_S = 2.0
MAX_EXPLAINED = 20  # peers
MAX_PART_LEN = 8_000_000  # bytes, unpacked
MAX_CONFIGURATION_LEN = 4 << 20
KEPT_FIELDS = frozenset(("process", "kind", "tag", "before", "after"))  # words of ours


@dataclass(frozen=True, slots=True)
class Source:
    """Where the parts come from."""

    agent: Agent | None
    file: ConfigFile | None  # that the operator named


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the report."""

    name: str
    about: str
    data: bytes


def make_parts(source: Source, pseudonyms: Pseudonyms, missing: list[str]) -> list[Part]:
    """Return all parts; what cannot be had is told to `missing`, and the rest goes on without it."""
    now, agent = boot_now(), source.agent
    pseudonyms.learn_host(os.uname().nodename)
    configuration = _configuration(source, missing)
    report: Report | None = None
    snapshots: list[Snapshot] = []
    records: list[Record] = []
    logs: dict[str, str] = {}
    if agent is not None:
        pseudonyms.learn_node(agent.node)
        snapshots, unreadable = agent.snapshots()
        missing += unreadable
        report = make_report(agent.node, agent.supervisor_pid(), snapshots, unreadable, now)
        records = _records(agent, missing)
        logs = _logs(agent.directory, missing)
        missing += [problem for problem in report.problems if problem not in missing]
    # Everything is looked at before anything is replaced: a name can stand anywhere.
    pseudonyms.learn([configuration, *map(msgspec.to_builtins, snapshots), *logs.values()])
    for record in records:
        pseudonyms.learn([record.to, record.sender, record.reason, fields_of(record)])
    parts: list[Part] = []
    if report is not None:
        parts += _status(report, snapshots, pseudonyms)
    if agent is not None and records:
        parts += _mail(agent, records, snapshots, pseudonyms, missing)
        if report is not None:
            parts.append(_why(report, records, now, pseudonyms))
    for name, text in logs.items():
        parts.append(Part(name, "the end of a process's log", pseudonyms.text(text).encode()))
    if configuration is not None:
        parts.append(
            Part("configuration.json", "what the agent runs with", _json(_without_files(configuration, pseudonyms)))
        )
    pids = [snapshot.pid for snapshot in snapshots]
    parts += [
        Part("versions.txt", "homing, Python, packages", host.versions().encode()),
        Part("machine.txt", "kernel, clocks, tools, settings", pseudonyms.text(host.machine()).encode()),
        Part("network.txt", "interfaces, addresses, routes", pseudonyms.text(host.network()).encode()),
        *([Part("processes.txt", "what the kernel says of ours", host.processes(pids).encode())] if pids else ()),
    ]
    return [_cut(part, missing) for part in parts]


def _cut(part: Part, missing: list[str]) -> Part:
    """Return the part, without its beginning if it is too long."""
    if len(part.data) <= MAX_PART_LEN:
        return part
    missing.append(f"{part.name}: only the last {MAX_PART_LEN} of {len(part.data)} bytes")
    return Part(part.name, part.about, part.data[-MAX_PART_LEN:])


def vocabulary() -> frozenset[str]:
    """Return the words that stand in reports and mail by their types: fields, states, kinds, actors, processes."""
    ours = [value for value in vars(addresses).values() if isinstance(value, Address)]
    words = {*TYPE_OF, *(field.name for field in fields(addresses.PeerAddresses))}
    words.update(word for one in ours for word in (one.actor, one.process))
    seen: set[object] = set()

    def collect(hint: Any) -> None:
        if hint in seen:
            return
        seen.add(hint)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            for field in structs.fields(hint):
                words.add(field.name)
                collect(field.type)
        words.update(part for part in get_args(hint) if isinstance(part, str))
        for part in get_args(hint):
            if not isinstance(part, str):
                collect(part)

    for hint in (Report, Snapshot, ConfigFile, Explanation, *TYPE_OF.values()):
        collect(hint)
    return frozenset(words)


def _configuration(source: Source, missing: list[str]) -> dict[str, Any] | None:
    """Return what the agent runs with, else the file that was named."""
    if source.agent is not None:
        try:
            with (source.agent.directory / CONFIGURATION).open("rb") as file:
                return dict(msgspec.to_builtins(msgspec.json.decode(file.read(MAX_CONFIGURATION_LEN), type=ConfigFile)))
        except OSError as error:
            if source.file is None:
                missing.append(f"the configuration ({CONFIGURATION}: {error.strerror}); -c FILE names it")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            missing.append(f"{CONFIGURATION} cannot be read: {error}")
    elif source.file is None:
        missing.append("the configuration; -c FILE names it")
    return None if source.file is None else dict(msgspec.to_builtins(source.file))


def _without_files(configuration: dict[str, Any], pseudonyms: Pseudonyms) -> Any:
    """Return the configuration as it may be shown: of files only that they are named."""

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: "<a file>" if name.endswith("_file") and part is not None else named(part)
                for name, part in value.items()
            }
        return [named(part) for part in value] if isinstance(value, list | tuple) else value

    return pseudonyms.of(named(configuration))


def _records(agent: Agent, missing: list[str]) -> list[Record]:
    if agent.supervisor_pid() is None:
        missing.append("the last messages; they end with the agent's processes")
        return []
    past = read_rings(agent.directory, 0.0, RING_LIMIT_S)
    missing += [f"the messages of {process}: no answer within {RING_LIMIT_S:g} s" for process in past.silent]
    return newest((record for ring in past.rings for record in ring.records), None)


def _logs(directory: Path, missing: list[str]) -> dict[str, str]:
    """Return the ends of the logs by file name."""
    found: dict[str, str] = {}
    paths = [*directory.glob("log-*.txt"), *directory.glob("log-*.txt.1")]
    for name in sorted({path.name.removesuffix(".1") for path in paths}):
        try:
            found[name] = read_tail(directory / name)
        except OSError as error:
            missing.append(f"{name}: {error.strerror}")
    if not found:
        missing.append("the log; it is where standard error goes (journalctl -u homing)")
    return found


def _status(report: Report, snapshots: Sequence[Snapshot], pseudonyms: Pseudonyms) -> list[Part]:
    clean = msgspec.convert(pseudonyms.of(msgspec.to_builtins(report)), Report)
    told = "".join(f"{one_line(line)}\n" for line in lines(clean, detailed=True))
    return [
        Part("status.txt", "how peers and processes stand", told.encode()),
        Part("status.json", "the same for programs", _json(clean)),
        Part("snapshots.json", "what the processes wrote", _json(pseudonyms.of(msgspec.to_builtins(snapshots)))),
    ]


def _why(report: Report, records: Sequence[Record], now: float, pseudonyms: Pseudonyms) -> Part:
    """Return what `homing why` says, of the peers that most need it."""
    troubled = sorted(report.peers, key=lambda peer: (peer.state == "connected", -peer.recoveries))[:MAX_EXPLAINED]
    found = (explain(standing_of(peer), records, now, missing=()) for peer in troubled)
    clean = (msgspec.convert(pseudonyms.of(msgspec.to_builtins(each)), Explanation) for each in found)
    told = (
        f"{one_line(line)}\n"
        for each in clean
        for line in (*explained(structs.replace(each, peer=each.standing.name), time.time() - now), "")
    )
    return Part("why.txt", "what broke last, and why", "".join(told).encode())


def _mail(
    agent: Agent, records: Iterable[Record], snapshots: Sequence[Snapshot], pseudonyms: Pseudonyms, missing: list[str]
) -> list[Part]:
    """Return the messages that the processes remember, as a tape and as text."""
    names = {PublicKey(pseudonyms.text(key)): pseudonyms.name(name) for key, name in names_of(snapshots).items()}
    now = boot_now()
    wall_offset_s = time.time() - now
    header = Header(
        node=pseudonyms.name(agent.node), made_unix_s=now + wall_offset_s, wall_offset_s=wall_offset_s, names=names
    )
    clean = [_clean(record, pseudonyms) for record in records]
    kept, length = [], 0
    for data in map(encode_record, reversed(clean)):
        length += len(data)
        if length > MAX_PART_LEN:
            break
        kept.append(data)
    if len(kept) < len(clean):
        missing.append(f"mail.tape: only the last {len(kept)} of {len(clean)} messages")
    text = "".join(f"{render(record, names, wall_offset_s)}\n" for record in clean)
    return [
        Part("mail.txt", "the last messages between actors", text.encode()),
        Part("mail.tape", "the same for homing trace show", encode_header(header) + b"".join(reversed(kept))),
    ]


def _clean(record: Record, pseudonyms: Pseudonyms) -> Record:
    texts = {
        name: value
        for name, value in structs.asdict(record).items()
        if isinstance(value, str) and name not in KEPT_FIELDS
    }
    return structs.replace(record, **pseudonyms.of(texts), body=_clean_body(record.body, pseudonyms))


def _clean_body(body: bytes, pseudonyms: Pseudonyms) -> bytes:
    try:
        message = msgspec.msgpack.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return b""
    if not isinstance(message, dict):
        return b""
    return msgspec.msgpack.encode({**pseudonyms.of(message), "type": message.get("type")})


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"

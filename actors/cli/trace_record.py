"""`homing trace record`: mail kept in a file, with what `replay` needs."""

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from actors.cli.errors import CommandFailed, as_line
from actors.cli.reading import RING_LIMIT_S
from actors.cli.report import names_of
from actors.cli.running import (
    RUN_DIRECTORY,
    Agent,
    NodeOption,
    RunDirectoryOption,
    boot_now,
    find_agent,
    running_pid,
)
from actors.cli.words import seconds_of, size
from actors.trace.live import Taps, read_machines, read_rings
from actors.trace.record import Record, encode_record
from actors.trace.render import Names
from actors.trace.select import newest
from actors.trace.tape import Header, Lost, MoreNames, encode_header, encode_note

WAIT_S = 0.25
SUBSCRIBED_S = 0.5  # after which every tap knows that somebody listens
MEGA = 1_000_000
LOOK_S = 0.5  # from one look for peers that are new to the next
MACHINES_LIMIT_S = 1.0  # for one peer's; a process that hangs would hold the tape up
STARTED = frozenset({"peer_started", "process_ready"})  # machines are others from then on

SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="The past this far back (60s, 5m).")]


class TapeFile:
    """A tape that is written; beyond half its limit it goes on in a new file, and the one before becomes FILE.1."""

    def __init__(self, path: Path, header: Header, limit: int) -> None:
        self._path, self._head, self._half = path, encode_header(header), limit // 2
        self.records = 0
        self.files = 0
        self._file = self._open()

    def write(self, records: Iterable[Record]) -> None:
        """Keep these."""
        for record in records:
            self.keep(encode_record(record))
            self.records += 1
        self._file.flush()

    def keep(self, item: bytes) -> None:
        """Keep an item, encoded."""
        if self._size + len(item) > self._half and self._size > len(self._head):
            self._file.close()
            self._path.replace(f"{self._path}.1")
            self._file = self._open()
        self._file.write(item)
        self._size += len(item)

    def close(self) -> None:
        """End it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _open(self) -> BinaryIO:
        file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        file.write(self._head)
        self._size = len(self._head)
        self.files += 1
        return file


class Recorder:
    """Keeps what the taps show, and how the peers' machines stand wherever that is not known from the mail."""

    def __init__(self, agent: Agent, tape: TapeFile, taps: Taps, names: Names, began_at: float) -> None:
        self._agent, self._tape, self._taps, self._began_at = agent, tape, taps, began_at
        self._names = names  # of the peers, as the tape has them
        self._look_at = began_at + SUBSCRIBED_S
        self._lost = 0
        self._looked_at = began_at
        self._files = tape.files
        self._stale = True  # the states on the tape

    def step(self) -> None:
        """Wait a moment, and keep what came."""
        self._keep(WAIT_S)
        now = boot_now()
        if self._taps.lost > self._lost:
            self._tape.keep(encode_note(Lost(since=self._looked_at, at=now, count=self._taps.lost - self._lost)))
            self._lost, self._stale = self._taps.lost, True
        self._looked_at = now
        if now < self._look_at and self._files == self._tape.files:
            return
        self._look_at = now + LOOK_S
        names = names_of(self._agent.snapshots()[0])
        if names and (self._stale or names != self._names or self._files != self._tape.files):
            self._note(names)

    def rest(self) -> None:
        """Keep what is held."""
        self._tape.write(one for one in self._taps.rest() if one.at >= self._began_at)

    @property
    def lost(self) -> int:
        """Records that did not come to be kept."""
        return self._taps.lost

    def _keep(self, wait_s: float) -> None:
        came = [one for one in self._taps.read(wait_s, boot_now()) if one.at >= self._began_at]
        self._stale |= any(one.tag in STARTED and one.kind == "delivered" for one in came)
        self._tape.write(came)

    def _note(self, names: Names) -> None:
        """Keep who the peers are, and how their machines stand."""
        self._stale, self._names, self._files = False, names, self._tape.files
        self._tape.keep(encode_note(MoreNames(names=dict(names))))
        for peer in sorted(names):
            for item in read_machines(self._agent.directory, peer, MACHINES_LIMIT_S):
                self._tape.keep(item)
            self._keep(0.0)


def record(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to keep it; it must not exist yet.")],
    since: SinceOption = None,
    limit: Annotated[str | None, typer.Option("--for", metavar="TIME", help="End after this long (10s, 2m).")] = None,
    megabytes: Annotated[
        int, typer.Option("--limit", metavar="MB", min=1, max=100_000, help="Of both files, FILE and FILE.1.")
    ] = 64,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Keep the agent's mail in a file, until Ctrl-C; secrets are not in it.

    With --since it begins with what the processes remember.  At half of its limit the file becomes FILE.1, in place of
    the FILE.1 before it, and a new one begins.  How each peer's machines stand is kept too, so that `replay` can
    begin there.

    \b
    Example: homing trace record fault.tape
    Example: homing trace record fault.tape --since 10m --for 1s
    """
    limit_s = None if limit is None else seconds_of("--for", limit)
    since_s = None if since is None else seconds_of("--since", since)
    agent = find_agent(run_directory, node)
    running_pid(agent)
    names = names_of(agent.snapshots()[0])
    now = boot_now()
    wall_offset_s = time.time() - now
    header = Header(node=agent.node, made_unix_s=now + wall_offset_s, wall_offset_s=wall_offset_s, names=names)
    try:
        tape = TapeFile(file, header, megabytes * MEGA)
    except FileExistsError:
        raise CommandFailed(f"{file} exists and is left as it is; choose another name") from None
    try:
        with Taps(agent.directory) as taps:
            if since_s is not None:
                past = read_rings(agent.directory, now - since_s, RING_LIMIT_S)
                tape.write(newest((one for ring in past.rings for one in ring.records if one.at < now), None))
            recorder = Recorder(agent, tape, taps, names, now)
            while agent.supervisor_pid() is not None and (limit_s is None or boot_now() < now + limit_s):
                recorder.step()
            recorder.rest()
            if recorder.lost:
                print(as_line(f"lost {recorder.lost} records: this reader was too slow"), file=sys.stderr)
    except KeyboardInterrupt:
        pass
    finally:
        tape.close()
    print(f"{tape.records} records, {size(file.stat().st_size)} in {file}")

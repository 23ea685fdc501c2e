"""`homing bundle`: one file for a bug report, without secrets, keys, addresses or names."""

import io
import os
import secrets
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from actors.cli.bundle_parts import Part, Source, make_parts, vocabulary
from actors.cli.check import read
from actors.cli.errors import CommandFailed
from actors.cli.running import RUN_DIRECTORY, Agent, NodeOption, RunDirectoryOption, find_agent
from actors.cli.words import size
from actors.messages.pseudonyms import Pseudonyms

FOLDER = "homing-bundle"
MAX_TOLD = 20  # peers whose pseudonyms are told
PSEUDONYM_KEY_LEN = 32

README = """\
A bug report of homing, made by `homing bundle`.

In it are: how all peers and processes stood, the last messages between the agent's actors, the last lines of its log,
its configuration, and what of this machine matters.  Secrets were never in any of these.  Keys, addresses and names
are replaced by others, the same one for the same thing throughout: key00001AAAA..., peer-1, host-1, and addresses of
the same kind that share the same prefixes.  {names}

{parts}
{missing}"""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` says."""

    file: str
    size: int  # bytes
    parts: dict[str, int]  # bytes of each, unpacked
    missing: tuple[str, ...]  # what could not be had, and what was left out
    pseudonyms: dict[str, str]  # of peers, with their names; not in the file


def run(
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to put it; it must not exist yet.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="The configuration, where no agent has left its own."),
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Leave the names of nodes, peers and servers as they are.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Put all that a bug report needs into one file: status, messages, logs, configuration, this machine.

    Secrets are never in it; keys, addresses and names are replaced, the same thing by the same pseudonym throughout.
    It works also while the agent hangs or does not run, and says what is missing then.  The file is yours alone (mode
    0600).  Who is who is told here and is not in the file.

    \b
    Example: homing bundle
    Example: homing bundle -o report.tar.gz --names
    """
    path = output if output is not None else Path(time.strftime(f"{FOLDER}-%Y%m%d-%H%M%S.tar.gz"))
    source, missing = _source(run_directory, node, config)
    pseudonyms = Pseudonyms(secrets.token_bytes(PSEUDONYM_KEY_LEN), keep_names=names, reserved=vocabulary())
    file = _create(path)
    try:
        with os.fdopen(file, "wb") as out:
            parts = make_parts(source, pseudonyms, missing)
            readme = README.format(
                parts="\n".join(f"{part.name:<22} {part.about}" for part in parts),
                missing="".join(f"\nmissing: {pseudonyms.text(line)}" for line in missing) + "\n" if missing else "",
                names="Names of machines were left as they are." if names else "",
            )
            parts.insert(0, Part("README.txt", "what is what", readme.encode()))
            _pack(parts, out)
    except BaseException:  # an interrupt too: half a bundle is none
        path.unlink(missing_ok=True)
        raise
    made = Bundle(
        file=str(path),
        size=path.stat().st_size,
        parts={part.name: len(part.data) for part in parts},
        missing=tuple(missing),
        pseudonyms=pseudonyms.peers,
    )
    if json_output:
        print(msgspec.json.encode(made).decode())
        return
    for line in _lines(made, parts):
        print(line)


def _source(run_directory: str, node: str | None, config: Path | None) -> tuple[Source, list[str]]:
    """Return where everything comes from, and what is known to be missing."""
    file = None if config is None else read(config).file
    missing: list[str] = []
    agent: Agent | None = None
    if node is None and file is not None:
        node = file.node.name if Path(run_directory, file.node.name).is_dir() else None
    try:
        agent = find_agent(run_directory, node)
    except CommandFailed as error:
        if _some_agent(Path(run_directory)):  # then which one, or as whom, is for the caller to say
            raise
        missing += error.lines
    if agent is not None and agent.supervisor_pid() is None:
        missing.append(f"the agent {agent.node} is not running; what is here of it is its last word")
    return Source(agent, file), missing


def _some_agent(root: Path) -> bool:
    try:
        return any(path.is_dir() for path in root.iterdir())
    except FileNotFoundError:
        return False
    except PermissionError:
        return True


def _create(path: Path) -> int:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise CommandFailed(f"{path} exists and is left as it is; choose another name with -o FILE") from None
    except FileNotFoundError:
        raise CommandFailed(f"{path.parent}: no such directory; choose another place with -o FILE") from None
    os.fchmod(file, 0o600)
    return file


def _pack(parts: Sequence[Part], out: io.BufferedWriter) -> None:
    now = int(time.time())
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for part in parts:
            about = tarfile.TarInfo(f"{FOLDER}/{part.name}")
            about.size, about.mode, about.mtime = len(part.data), 0o600, now
            tar.addfile(about, io.BytesIO(part.data))


def _lines(made: Bundle, parts: Sequence[Part]) -> Iterator[str]:
    yield f"{made.file}, {size(made.size)}; look before you send it: tar -xzf {made.file}"
    yield from (f"  {part.name:<22} {size(len(part.data)):>8}  {part.about}" for part in parts)
    yield from (f"missing: {line}" for line in made.missing)
    if made.pseudonyms:
        known = [f"{given} is {name}" for given, name in made.pseudonyms.items()]
        more = ", ... (--json tells all)" if len(known) > MAX_TOLD else ""
        yield f"not in the file: {', '.join(known[:MAX_TOLD])}{more}"

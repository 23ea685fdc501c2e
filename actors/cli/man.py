"""`homing man`: the manual page, made from what `--help` says."""

import re
from collections.abc import Iterator
from importlib import import_module, metadata

import click
import typer

FILES = (
    ("/run/homing/NODE", "Sockets, status, the last lines of the log; node.run_directory."),
    ("/var/lib/homing/NODE", "What must survive a reboot; node.state_directory."),
)
ENVIRONMENT = (
    ("HOMING_TABLE_KEY", "In place of a key of the configuration: HOMING_NODE_NAME, HOMING_RELAY_URLS, ..."),
    ("HOMING_NODE_RUN_DIRECTORY", "Where every command looks for agents, as --run-directory."),
    ("HOMING_DEBUG", "1: show where an error came from."),
)
EXIT_STATUS = (("0", "Done."), ("1", "Failed; standard error has a line that says what to do."), ("2", "Wrong use."))
VERBATIM = "\b"  # click's mark of a paragraph whose lines stay as they are
EXAMPLE = "Example:"

Path = tuple[str, ...]


def run() -> None:
    """Print the manual page; `make man` puts it where man(1) finds it.

    \b
    Example: homing man | man -l -
    Example: homing man > /usr/local/share/man/man1/homing.1
    """
    print(page(), end="")


def every_command() -> Iterator[tuple[Path, click.Command]]:
    """Yield all commands whole, each with the words that call it; groups before what is in them."""
    main = import_module("actors.cli.application")
    for name in main.SUMMARIES:
        root = typer.main.get_command(main.application((name, *main.GROUPS.get(name, ()))))
        assert isinstance(root, click.Group)
        yield from _below((name,), root.commands[name])


def page() -> str:
    """Return the page for man(7)."""
    return "".join(f"{line}\n" for line in _page())


def _below(path: Path, command: click.Command) -> Iterator[tuple[Path, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _below((*path, name), inner)


def _page() -> Iterator[str]:
    main = import_module("actors.cli.application")
    root = typer.main.get_command(main.application(()))
    yield f'.TH HOMING 1 "" "homing {metadata.version("homing")}" "User Commands"'
    yield ".SH NAME"
    yield r"homing \- a peer-to-peer WireGuard agent that keeps every pair connected"
    yield ".SH SYNOPSIS"
    yield r".B homing"
    yield r"[\fB\-\-version\fR] [\fB\-\-help\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(root.help or "")
    yield ".SH COMMANDS"
    for path, command in every_command():
        yield from _command(path, command)
    for heading, items in (("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT), ("EXIT STATUS", EXIT_STATUS)):
        yield f".SH {heading}"
        for name, text in items:
            yield ".TP"
            yield rf"\fB{_text(name)}\fR"
            yield _line(text)
    yield ".SH SEE ALSO"
    yield r".BR wg (8), systemctl (1), ip (8)"


def _command(path: Path, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(("homing", *path)))
    usage = " ".join(command.collect_usage_pieces(context))
    yield f'.SS "{_text(" ".join(("homing", *path)))} {_text(usage)}"'
    yield from _paragraphs(command.help or command.short_help or "")
    for param in command.params:
        record = param.get_help_record(context)
        if record is not None:
            yield ".TP"
            yield rf"\fB{_text(record[0])}\fR"
            yield _line(record[1] or "No more is needed.")


def _paragraphs(help_text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", help_text.strip("\n"))):
        if number:
            yield ".PP"
        lines = [line for line in paragraph.split("\n") if line.strip() != VERBATIM]
        if len(lines) < len(paragraph.split("\n")) or lines[0].startswith(EXAMPLE):
            yield ".nf"
            yield from map(_line, lines)
            yield ".fi"
        else:
            yield _line(" ".join(line.strip() for line in lines))


def _line(text: str) -> str:
    """Return a line of text, which no request of man(7) can be mistaken for."""
    plain = _text(text)
    return rf"\&{plain}" if plain.startswith((".", "'")) else plain


def _text(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq")

"""What every command says of itself: by --help, and on the manual page."""

import re
import subprocess
from collections.abc import Iterator

import click
import pytest

from actors.cli.application import SUMMARIES
from actors.cli.man import every_command, page
from tests.actors.cli.console import homing

MACROS = (".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi", ".B ", ".BR ")

SECTION = re.compile(r'^\.SS "homing ([a-z -]+?) (?:[^"a-z][^"]*)?"?\n(.*?)(?=^\.S[SH])', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def commands() -> dict[tuple[str, ...], click.Command]:
    return dict(every_command())


def options(command: click.Command) -> Iterator[str]:
    for param in command.params:
        yield from param.opts if isinstance(param, click.Option) else ()


def test_every_command_is_there(commands: dict[tuple[str, ...], click.Command]) -> None:
    assert {path[0] for path in commands} == set(SUMMARIES)
    assert {("trace", "record"), ("key", "new"), ("status",)} <= set(commands)


def test_the_help_of_every_command_has_an_example_of_it(
    commands: dict[tuple[str, ...], click.Command], capsys: pytest.CaptureFixture[str]
) -> None:
    for path, command in commands.items():
        result = homing(capsys, *path, "--help")
        assert result.code == 0, path
        assert re.search(rf"Example: .*\bhoming {' '.join(path)}\b", result.out), path
        example = re.findall(rf"homing {' '.join(path)}\b(.*)", result.out.split("Example:", 1)[1])
        used = {word for line in example for word in re.findall(r"(?<=\s)--?[a-z][a-z-]*", line)}
        known = {*options(command), "-"}
        assert used <= known or isinstance(command, click.Group) or "|" in "".join(example), (path, used - known)


def test_every_option_is_on_the_page_with_what_it_is_for(commands: dict[tuple[str, ...], click.Command]) -> None:
    sections = dict(SECTION.findall(page()))
    for path, command in commands.items():
        text = sections.get(" ".join(path))
        assert text is not None, (path, sorted(sections))
        for option in options(command):
            assert option.replace("-", "\\-") in text, (path, option)


def test_the_page_is_well_formed() -> None:
    lines = page().splitlines()
    assert lines[0].startswith(".TH HOMING 1 ")
    headings = [line.removeprefix(".SH ") for line in lines if line.startswith(".SH ")]
    wanted = ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "FILES", "ENVIRONMENT", "EXIT STATUS", "SEE ALSO"]
    assert headings == wanted
    assert all(line.startswith(MACROS) for line in lines if line.startswith((".", "'")))
    assert lines.count(".nf") == lines.count(".fi")
    assert lines[2].startswith(r"homing \- ")  # what whatis(1) shows
    assert all(line.isprintable() and line for line in lines)
    tags = [lines[at + 1] for at, line in enumerate(lines) if line == ".TP"]
    assert all(tag.startswith(r"\fB") for tag in tags)


def test_nothing_in_a_help_is_taken_for_a_request() -> None:
    assert "\n.nf\n" in page()
    assert r"\e" in page()  # of the line that a backslash continues
    below = page().partition(".SH SYNOPSIS")[2]
    assert re.search(r"(?<!\\)-[a-z]", below) is None  # a hyphen is no minus, and cannot be copied


@pytest.mark.interop
def test_groff_has_nothing_against_it() -> None:
    """What man(1) formats with."""
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Kutf8"], input=page(), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert homing(capsys, "man").out == page()

"""`homing completion`: what a shell runs on Tab, and the answer to it, by click's own protocol.

The shell calls `homing` with _HOMING_COMPLETE=SHELL_complete and the words of the line in COMP_WORDS.  What an argument
takes is told by its METAVAR, so that a command says it in one place.
"""

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import click
import typer
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from actors.cli.errors import FAILED, WRONG_USE, CommandFailed
from actors.cli.report import names_of
from actors.cli.running import RUN_DIRECTORY, find_agent

VARIABLE = "_HOMING_COMPLETE"
Shell = Literal["bash", "zsh", "fish"]
SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
MAX_NAMES = 1000


def run(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
    install: Annotated[
        bool, typer.Option("--install", help="Put it where the shell looks for yours, and say where that is.")
    ] = False,
) -> None:
    """Print what makes a shell complete commands, options and names of peers.

    \b
    Example: homing completion bash --install
    Example: eval "$(homing completion bash)"
    """
    text = script(shell)
    if not install:
        print(text, end="")
        return
    path = _place(shell, os.environ, Path.home())
    _put(path, text)
    print(f"{path}; new shells have it" + (HINT_ZSH if shell == "zsh" else ""))


HINT_ZSH = ", if .zshrc says before compinit: fpath+=(~/.zfunc)"


def script(shell: Shell) -> str:
    """Return the script for this shell."""
    # Of the base: bash's own runs bash to ask for its version.
    return ShellComplete.source(SHELLS[shell](click.Group("homing"), {}, "homing", VARIABLE)) + "\n"


def complete(instruction: str, application: Callable[[Sequence[str]], typer.Typer]) -> int:
    """Print what fits the line that the shell tells of in the environment, and return the exit code.

    Whatever goes wrong, nothing is printed: the person is in the middle of a line.
    """
    shell, _, what = instruction.partition("_")
    if shell not in get_args(Shell) or what != "complete":
        return WRONG_USE
    try:
        words, _ = SHELLS[shell](click.Group("homing"), {}, "homing", VARIABLE).get_completion_args()
        root = typer.main.get_command(application(words))
        know_values(root)
        answer = SHELLS[shell](root, {}, "homing", VARIABLE).complete()
    except (Exception, SystemExit):
        return FAILED
    print(answer)
    return 0


def know_values(command: click.Command) -> None:
    """Have every argument and option below this command know what fits it, by its metavar."""
    for param in command.params:
        values = VALUES.get(param.metavar or "")
        if values is not None:
            param.type = _OneOf(values)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            know_values(below)


class _OneOf(click.types.StringParamType):
    """Text, of which some is known to fit."""

    def __init__(self, values: Callable[[click.Context], Sequence[str]]) -> None:
        self._values = values

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return what begins like `incomplete`; with commas the last of several."""
        before, comma, last = incomplete.rpartition(",")
        found = sorted(value for value in self._values(ctx) if value.startswith(last))
        return [CompletionItem(f"{before}{comma}{value}") for value in found[:MAX_NAMES]]


def _peers(ctx: click.Context) -> list[str]:
    try:
        agent = find_agent(ctx.params.get("run_directory") or RUN_DIRECTORY, ctx.params.get("node"))
        return list(names_of(agent.snapshots()[0]).values())
    except CommandFailed:
        return []


def _nodes(ctx: click.Context) -> list[str]:
    try:
        return [path.name for path in Path(ctx.params.get("run_directory") or RUN_DIRECTORY).iterdir() if path.is_dir()]
    except OSError:
        return []


def _types(_: click.Context) -> list[str]:
    return list(import_module("actors.messages.overflow").TYPE_OF)


def _shells(_: click.Context) -> list[str]:
    return list(SHELLS)


VALUES: dict[str, Callable[[click.Context], Sequence[str]]] = {
    "PEER": _peers,
    "NAME|KEY": _peers,
    "NAME": _nodes,
    "TYPE": _types,
    "TYPES": _types,
    "SHELL": _shells,
}
"""METAVAR -> what is known to fit there."""


def _place(shell: Shell, env: Any, home: Path) -> Path:
    """Return where this shell looks for a person's own completions."""
    match shell:
        case "bash":
            data = Path(env.get("XDG_DATA_HOME") or home / ".local/share")
            return data / "bash-completion/completions/homing"
        case "zsh":
            return home / ".zfunc/_homing"
        case "fish":
            return Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "fish/completions/homing.fish"


def _put(path: Path, text: str) -> None:
    """Write the script; one of ours is replaced, anything else is left as it is."""
    if path.exists() and VARIABLE not in path.read_text("utf-8", "replace"):
        raise CommandFailed(f"{path} exists, is not ours, and is left as it is; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")

"""The commands of `homing`: finds the command that was asked for, runs it, and turns every error into one line.

A command's module is imported when its name is among the arguments and not before, so that `homing status` and a Tab
in a shell are answered quickly.
"""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.cli.errors import FAILED, WRONG_USE, CommandFailed, as_line, explain

EPILOG = "Exit codes: 0 done, 1 failed, 2 wrong use.  HOMING_DEBUG=1 shows where an error came from."
COMPLETE = "_HOMING_COMPLETE"  # in the environment: a shell asks what fits (actors/cli/completion.py)


def answer(arguments: Sequence[str]) -> int:
    """Run a command, or tell a shell what fits, and return the exit code."""
    if (instruction := os.environ.get(COMPLETE)) is not None:
        code: int = _module("completion").complete(instruction, application)
        return code
    return execute(arguments)


def execute(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; what went wrong is told on standard error."""
    try:
        app = application(arguments)
        gc.enable()
        result = app(list(arguments) or ["--help"], prog_name="homing", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; and nothing may be written to it when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return FAILED
    except SystemExit:  # typer met the broken pipe first
        return 0
    except Exception as error:
        return _told(error, arguments)
    # typer turns an interrupt into the shell's code for it; ours for "not done" is FAILED.
    return FAILED if result == 128 + signal.SIGINT else result if isinstance(result, int) else 0


def application(arguments: Sequence[str]) -> typer.Typer:
    """Return the application: commands that the arguments name whole, of the others their names and summaries."""
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="A peer-to-peer WireGuard agent that keeps every pair connected, and says why when it is not.",
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback()(_root)
    for name, summary in SUMMARIES.items():
        if name in GROUPS and name in arguments:
            app.add_typer(_group(name, arguments), name=name, short_help=summary)
        else:
            app.command(name, short_help=summary)(_body(name) if name in arguments else _elsewhere)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"homing {import_module('importlib.metadata').version('homing')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


def demo(
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with the figures and nothing else.")
    ] = False,
) -> int:
    """Show it on this machine: two hosts behind NATs, a tunnel that goes direct, traffic, faults, their recovery.

    Makes a hub with a signal and a relay server, two NAT routers and two hosts in network namespaces (needs root),
    and takes everything away again at its end, also on Ctrl-C.

    Example: homing demo --json
    """
    code: int = _module("demo").run(json_output=json_output)
    return code


CertificateOption = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="Serve over TLS: the certificate chain (PEM).")
]
KeyOption = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="The key of --tls-cert (PEM).")]
LevelOption = Annotated[str, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")]


def signal_server(
    *,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen; :PORT is every address.")
    ] = ":10000",
    tls_cert: CertificateOption = None,
    tls_key: KeyOption = None,
    log_level: LevelOption = "info",
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", metavar="PORT", help="Counters at http://127.0.0.1:PORT/metrics."),
    ] = None,
) -> int:
    """Run a signal server, over which agents tell each other how they are reached; it cannot read what they say.

    Ends on SIGTERM or Ctrl-C.

    Example: homing signal --listen :10000
    """
    code: int = _module("signal").run(
        listen=listen, tls_cert=tls_cert, tls_key=tls_key, log_level=log_level, metrics_port=metrics_port
    )
    return code


def relay_server(
    *,
    exposed_url: Annotated[
        str,
        typer.Option("--exposed-url", metavar="URL", help="What agents are told: rel://HOST:PORT, rels:// with TLS."),
    ],
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen; :PORT is every address.")
    ] = ":33080",
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", metavar="FILE", help="The line shared with the agents; or HOMING_RELAY_SECRET."),
    ] = None,
    tls_cert: CertificateOption = None,
    tls_key: KeyOption = None,
    quic_dir: Annotated[
        Path | None,
        typer.Option(
            "--quic-dir", metavar="DIR", help="Without --tls-cert: serve QUIC with a certificate made and kept here."
        ),
    ] = None,
    no_quic: Annotated[
        bool, typer.Option("--no-quic", help="With --tls-cert: serve no QUIC beside WebSocket.")
    ] = False,
    health_port: Annotated[
        int | None,
        typer.Option("--health-port", metavar="PORT", help="http://127.0.0.1:PORT/health and /metrics."),
    ] = None,
    stun_port: Annotated[
        int,
        typer.Option("--stun-port", metavar="PORT", help="Answer STUN requests at this UDP port too; 0: do not."),
    ] = 0,
    log_level: LevelOption = "info",
) -> int:
    """Run a relay server, which carries packets between agents that cannot reach each other; it cannot read them.

    Ends on SIGTERM or Ctrl-C.

    \b
    Example: homing relay --exposed-url rel://relay.example.com:33080 \\
      --secret-file relay.secret
    """
    code: int = _module("relay").run(
        listen=listen,
        exposed_url=exposed_url,
        secret_file=secret_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
        quic_dir=quic_dir,
        no_quic=no_quic,
        health_port=health_port,
        stun_port=stun_port,
        log_level=log_level,
    )
    return code


SUMMARIES = {
    "demo": "Show it on this machine: a tunnel, faults, their recovery.",
    "up": "Run an agent in the foreground.",
    "down": "Stop the running agent.",
    "status": "Show how every peer is reached, and why not better.",
    "top": "Watch peers, traffic, mailboxes and mail on one screen.",
    "why": "Explain how a peer stands, what broke, and what recovered it.",
    "ping": "Send echoes through the tunnel, and say which path carried each.",
    "reset": "Recover one peer by hand.",
    "trace": "Show the mail between the agent's actors, live or past.",
    "bundle": "Put all that a bug report needs into one file.",
    "check": "Check a configuration and say what is wrong with it.",
    "key": "Make keys.",
    "signal": "Run a signal server.",
    "relay": "Run a relay server.",
    "completion": "Have a shell complete commands and peers.",
    "man": "Print the manual page.",
}
GROUPS = {
    "key": {
        "new": ("key", "new", "Make a private key."),
        "public": ("key", "public", "Show the public key of a private key."),
        "fingerprint": ("key", "fingerprint", "Show the fingerprint of a relay server's certificate."),
    },
    "trace": {
        "why": ("trace_why", "why", "Show what caused a message, and what it caused."),
        "queues": ("trace_queues", "show_queues", "Show the mailboxes that had mail, the busiest first."),
        "record": ("trace_record", "record", "Keep the agent's mail in a file, a tape."),
        "show": ("trace_tape", "show", "Show the mail that a tape holds."),
        "sequence": ("trace_tape", "sequence", "Draw mail as a sequence diagram."),
        "merge": ("trace_merge", "merge", "Join the tapes of two machines."),
        "replay": ("trace_replay", "replay", "Have this version's machines handle a tape's mail once more."),
    },
}
"""Commands with commands of their own: the module and function of each, and its summary."""
BODIES: dict[str, Callable[..., Any]] = {"demo": demo, "signal": signal_server, "relay": relay_server}
"""Commands whose options stand here; all others are the function `run` of their module."""


def _group(name: str, arguments: Sequence[str]) -> typer.Typer:
    """Return a command that has commands of its own: whole are itself, and those that the arguments name."""
    group = typer.Typer(rich_markup_mode=None)
    if (itself := getattr(_module(name), "run", None)) is not None:
        group.callback(invoke_without_command=True)(itself)
    else:
        group.info.help = f"{SUMMARIES[name]}\n\nExample: homing {name} {next(iter(GROUPS[name]))}"
    for below, (module, function, summary) in GROUPS[name].items():
        body = getattr(_module(module), function) if below in arguments else _elsewhere
        group.command(below, short_help=summary)(body)
    return group


def _wanted(arguments: Sequence[str]) -> str | None:
    """Return the command that was asked for: the first argument that is no option."""
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def _module(name: str) -> Any:
    return import_module(f"actors.cli.{name}")


def _body(name: str) -> Callable[..., Any]:
    body: Callable[..., Any] = BODIES[name] if name in BODIES else _module(name).run
    return body


def _elsewhere() -> None:
    """Stand for a command that was not asked for."""


def _told(error: Exception, arguments: Sequence[str]) -> int:
    """Tell of an error in the way that suits it, and return the exit code."""
    if os.environ.get("HOMING_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, CommandFailed):
        failed = error
    elif (message := _usage_message(error)) is not None:
        wanted = _wanted(arguments)
        command = getattr(getattr(error, "ctx", None), "command_path", f"homing {wanted}" if wanted else "homing")
        failed = CommandFailed(f"{message.rstrip('.')}; see: {command} --help", code=WRONG_USE)
    else:
        failed = explain(error)
    for line in failed.lines:
        print(as_line(line), file=sys.stderr)
    return failed.code


def _usage_message(error: Exception) -> str | None:
    """Return what typer has against the arguments; None if the error is not typer's (its class has no settled home)."""
    format_message = getattr(error, "format_message", None)
    return str(format_message()) if callable(format_message) else None

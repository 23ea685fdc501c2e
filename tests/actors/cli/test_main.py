import ast
import errno
import subprocess
import sys
from pathlib import Path

import pytest

from actors.cli import application as cli
from actors.cli.application import SUMMARIES, execute
from actors.cli.errors import CommandFailed, as_line, explain
from tests.actors.cli.console import failure, homing, really, spawn


def test_without_arguments_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    result = homing(capsys)
    assert result.code == 0
    assert all(name in result.out and summary in result.out for name, summary in SUMMARIES.items())
    assert homing(capsys, "--help").out == result.out


BELOW = (
    *(("key", name) for name in ("new", "public")),
    *(("trace", name) for name in ("why", "queues", "record", "show", "sequence", "merge", "replay")),
)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert homing(capsys, "--version").out.startswith("homing 0.")


@pytest.mark.parametrize(
    "command",
    [(name,) for name in SUMMARIES] + [("key", "new"), ("key", "public")] + [("trace", "why"), ("trace", "queues")],
)
def test_every_command_explains_itself(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    result = homing(capsys, *command, "--help")
    assert result.code == 0
    assert f"Usage: homing {' '.join(command)}" in result.out
    assert command == ("key",) or f"Example: homing {' '.join(command)}" in result.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("stauts",), "No such command 'stauts'. Did you mean 'status'?; see: homing --help"),
        (("--bogus",), "No such option: --bogus; see: homing --help"),
        (("status", "--bogus"), "No such option: --bogus; see: homing status --help"),
        (("status", "--check", "fine"), "'fine' is not one of 'live', 'ready', 'startup'; see: homing status --help"),
        (("status", "a", "b"), "Got unexpected extra argument (b); see: homing status --help"),
        (("up",), "Missing option '-c'"),
        (("check", "-c"), "Option '-c' requires an argument; see: homing check --help"),
        (("trace", "--count", "0"), "; see: homing trace --help"),
        (("trace", "--count", "many"), "; see: homing trace --help"),
        (("trace", "--since", "1y"), "--since: '1y' is no duration; 60s, 500ms, 2m or 1h would do"),
        (("trace", "--since", "1m", "--for", "1m"), "--for is for what comes, --since for what was"),
        (("trace", "who"), "No such command 'who'"),
        (("trace", "queues", "--since", "1m", "--count", "2"), "--since shows one table; leave --count away"),
        (("trace", "queues", "--interval", "1ms"), "--interval: at least 200 ms, not 1ms"),
        (("why",), "Missing argument 'PEER'; see: homing why --help"),
        (("key",), "Missing command; see: homing key --help"),
        (("key", "old"), "No such command 'old'"),
        (("relay",), "Missing option '--exposed-url'; see: homing relay --help"),
        (("signal", "--metrics-port", "x"), "; see: homing signal --help"),
        (("signal", "--metrics-port", "65536"), "--metrics-port 65536: 0 to 65535 would do"),
        (("relay", "--exposed-url", "rel://a:1", "--health-port", "-1"), "--health-port -1: 0 to 65535 would do"),
        (("relay", "--exposed-url", "rel://a:1", "--stun-port", "65536"), "--stun-port 65536: 0 to 65535 would do"),
        (("down", "--timeout", "-1"), "; see: homing down --help"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(
    arguments: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in failure(capsys, *arguments, code=2)


def test_no_traceback_reaches_the_user_unless_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*, json_output: bool) -> int:
        raise ZeroDivisionError("a bug\nof ours")

    monkeypatch.setitem(cli.BODIES, "demo", lambda: broken(json_output=False))
    assert failure(capsys, "demo") == (
        "internal error: ZeroDivisionError: a bug of ours; please report it with what HOMING_DEBUG=1 shows"
    )
    monkeypatch.setenv("HOMING_DEBUG", "1")
    assert 'raise ZeroDivisionError("a bug' in homing(capsys, "demo").error


def test_the_result_of_a_command_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.BODIES, "demo", lambda: 1)
    assert homing(capsys, "demo").code == 1
    monkeypatch.setitem(cli.BODIES, "demo", lambda: None)
    assert homing(capsys, "demo").code == 0


def test_an_interrupted_command_has_not_done_its_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.BODIES, "demo", interrupted)
    result = homing(capsys, "demo")
    assert (result.code, result.error) == (1, "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EPERM, "Operation not permitted"), "Operation not permitted; run as root"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "Address already in use; another program uses that port"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), "/x: No such file or directory"),
        (PermissionError(errno.EACCES, "Permission denied", b"/y"), "/y: Permission denied; run as root, or as the"),
        (RuntimeError(), "internal error: RuntimeError; please report"),
    ],
)
def test_errors_of_the_system_say_what_to_do(error: Exception, line: str) -> None:
    assert explain(error).lines[0].startswith(line)
    assert explain(error).code == 1


def test_an_error_is_one_line_whatever_is_in_it() -> None:
    assert as_line("a\n b\x1b[2J\udcff") == "homing: a b\\x1b[2J\\udcff"
    assert CommandFailed("first", "second", code=2).lines == ("first", "second")


HEAVY = {"zmq", "pykka", "asyncio", "loguru", "logging", "rich", "textual", "grpc", "google", "cryptography", "ssl"}
HEAVY |= {"_hashlib", "msgpack", "tomllib"}


def loaded_for(line: str, expression: str = "execute(sys.argv[1:])") -> set[str]:
    """Return the modules that are loaded once this line was answered."""
    code = f"import sys; from actors.cli.application import answer, execute; {expression}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


@pytest.mark.parametrize("line", ["--help", "status", "status --help", "why", "trace --help"])
def test_modules_of_other_commands_stay_unloaded(line: str) -> None:
    loaded = loaded_for(line)
    named = set(line.split()) & set(SUMMARIES)
    assert {name for name in SUMMARIES if f"actors.cli.{name}" in loaded} == named
    assert not {name for name in loaded if name.startswith("actors.cli.trace_")}
    if named <= {"status"}:
        assert not loaded & HEAVY


def test_a_tab_in_a_shell_loads_no_more_than_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.COMPLETE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"homing status --run-directory {tmp_path} ")
    monkeypatch.setenv("COMP_CWORD", "4")
    assert not loaded_for("", "answer([])") & (HEAVY | {"actors.messages.overflow"})


@pytest.mark.parametrize("name", sorted(cli.GROUPS))
def test_commands_of_a_group_are_summed_up_alike_whether_loaded_or_not(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = homing(capsys, name, "--help").out
    for below, (_, _, summary) in cli.GROUPS[name].items():
        assert f"{below} " in told
        assert summary in told
        assert f"Usage: homing {name} {below}" in homing(capsys, name, below, "--help").out


def test_every_body_is_a_command() -> None:
    folder = Path(cli.__file__).parent
    bodies = {
        path.stem
        for path in folder.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "run"
    }
    assert bodies <= set(SUMMARIES)


@pytest.mark.process
def test_the_real_program_fails_in_one_line() -> None:
    result = really("check", "-c", "/nonexistent/homing.toml")
    assert (result.code, result.out) == (2, "")
    assert result.error == ("homing: /nonexistent/homing.toml: no such file; config/example.toml shows a whole one\n")


@pytest.mark.process
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with spawn("--help") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 0


@pytest.mark.process
def test_closed_outputs_are_no_error() -> None:
    told = 'exec "$0" -m actors.cli --version >&- 2>&-'
    assert subprocess.run(["sh", "-c", told, sys.executable], check=False).returncode == 0


def test_exit_codes_are_stated(capsys: pytest.CaptureFixture[str]) -> None:
    execute(["--help"])
    assert "Exit codes: 0 done, 1 failed, 2 wrong use." in capsys.readouterr().out


def test_an_interrupt_while_the_commands_are_still_imported_says_nothing() -> None:
    code = (
        "import sys; from actors.cli.__main__ import main\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.modules.pop('typer', None)\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.cli.application import COMPLETE, SUMMARIES, application
from actors.cli.completion import VARIABLE, complete
from tests.actors.cli.console import failure, homing
from tests.actors.cli.fake_agent import FakeAgent

ON_TAB = """
eval "$({python} -m actors.cli completion bash)"
COMP_WORDS=({words}) COMP_CWORD={at}
_homing_completion {directory}/homing
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    monkeypatch.setenv("HOMING_NODE_RUN_DIRECTORY", str(tmp_path / "run"))
    with FakeAgent(tmp_path / "run") as fake:
        fake.write_usual()
        yield fake


def fitting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str) -> list[str]:
    """Return what fits where this line ends."""
    words = line.split(" ")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    capsys.readouterr()
    assert complete("bash_complete", application) == 0
    return [word.removeprefix("plain,") for word in capsys.readouterr().out.splitlines() if word]


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("homing sta", ["status"]),
        ("homing key n", ["new"]),
        ("homing status --j", ["--json"]),
        ("homing status --check r", ["ready"]),
        ("homing status b", ["bob"]),
        ("homing why ", ["bob"]),
        ("homing ping ", ["bob"]),
        ("homing reset ", ["bob"]),
        ("homing trace --peer ", ["bob"]),
        ("homing status --node al", ["alice"]),
        ("homing trace --type relay_los", ["relay_lost"]),
        ("homing trace --type offer_due,relay_los", ["offer_due,relay_lost"]),
        ("homing completion f", ["fish"]),
        ("homing status nobody", []),
    ],
)
def test_what_fits(
    agent: FakeAgent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, fits: list[str]
) -> None:
    assert fitting(monkeypatch, capsys, line) == fits


def test_every_command_fits_at_the_beginning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fitting(monkeypatch, capsys, "homing ") == list(SUMMARIES)


def test_peers_of_the_run_directory_that_the_line_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeAgent(tmp_path / "elsewhere") as fake:
        fake.write_usual()
        line = f"homing status --run-directory {fake.directory.parent} "
        assert fitting(monkeypatch, capsys, line) == ["bob"]


def test_without_an_agent_nothing_fits_and_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOMING_NODE_RUN_DIRECTORY", str(tmp_path / "none"))
    assert fitting(monkeypatch, capsys, "homing status ") == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("instruction", ["bash_source", "tcsh_complete", "", "bash"])
def test_an_instruction_that_is_none(instruction: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert complete(instruction, application) == 2
    assert capsys.readouterr().out == ""


def test_a_shell_that_tells_no_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert complete("zsh_complete", application) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = homing(capsys, "completion", shell)
    assert (result.code, result.error) == (0, "")
    assert f"{VARIABLE}={shell}_complete" in result.out
    assert VARIABLE == COMPLETE


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".local/share/bash-completion/completions/homing"),
        ("zsh", ".zfunc/_homing"),
        ("fish", ".config/fish/completions/homing.fish"),
    ],
)
def test_it_is_put_where_the_shell_looks(
    shell: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / place
    for _ in range(2):  # the second time in place of the first
        assert homing(capsys, "completion", shell, "--install").out.startswith(f"{path}; new shells have it")
    assert path.read_text() == homing(capsys, "completion", shell).out
    path.write_text("something else")
    assert "is not ours, and is left as it is" in failure(capsys, "completion", shell, "--install")
    assert path.read_text() == "something else"


def test_a_shell_that_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in failure(capsys, "completion", "tcsh", code=2)


@pytest.mark.process
def test_a_real_bash_completes_the_name_of_a_peer(agent: FakeAgent, tmp_path: Path) -> None:
    program = tmp_path / "homing"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m actors.cli "$@"\n')
    program.chmod(0o755)
    text = ON_TAB.format(python=sys.executable, words="homing status b", at=2, directory=tmp_path)
    done = subprocess.run(
        ["bash", "--norc", "-c", text], capture_output=True, text=True, check=False, timeout=60, env=dict(os.environ)
    )
    assert (done.stdout, done.stderr) == ("bob\n", "")

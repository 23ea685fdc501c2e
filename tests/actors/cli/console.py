"""Runs `homing` in this process, or for real in another."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from actors.cli.application import execute


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left."""

    code: int
    out: str
    error: str


def homing(capsys: pytest.CaptureFixture[str], *arguments: str) -> Result:
    """Run a command in this process."""
    capsys.readouterr()
    code = execute(arguments)
    said = capsys.readouterr()
    return Result(code, said.out, said.err)


def failure(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    """Run a command that must fail with one line, and return that line without its prefix."""
    result = homing(capsys, *arguments)
    assert result.code == code, result
    (line,) = result.error.splitlines()
    assert line.startswith("homing: ")
    return line.removeprefix("homing: ")


def spawn(*arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    """Start the real command."""
    return subprocess.Popen(
        [sys.executable, "-m", "actors.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )


def really(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    """Run the real command to its end."""
    with spawn(*arguments, env=env) as process:
        try:
            out, error = process.communicate(timeout=30)
        finally:
            process.kill()
    return Result(process.returncode, out, error)

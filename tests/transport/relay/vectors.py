"""The relay wire vectors of tests/data, read once."""

import json
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "data"


@cache
def vectors() -> dict[str, dict[str, Any]]:
    """Return the computed vectors by name."""
    return {line["name"]: line for line in _lines("relay_vectors.jsonl") if "name" in line}


def message(name: str) -> bytes:
    """Return the bytes of one computed vector."""
    return bytes.fromhex(vectors()[name]["hex"])


@cache
def transcript() -> tuple[dict[str, Any], ...]:
    """Return the recorded events and messages, in order."""
    return tuple(line for line in _lines("relay_websocket.jsonl") if "link" in line)


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]

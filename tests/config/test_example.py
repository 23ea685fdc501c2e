"""`config/example.toml` is whole, true and loadable."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

import config
from config.load import load
from config.schema import ConfigFile, PeerSection, Section
from tests.config.samples import OWN, write_private

EXAMPLE = Path(config.__file__).parent / "example.toml"
SECTIONS: dict[str, type[Section]] = {
    **{field.name: field.type for field in structs.fields(ConfigFile) if field.name != "peer"},
    "peer": PeerSection,
}
KEYS = [(name, field) for name, section in SECTIONS.items() for field in structs.fields(section)]


def explained() -> dict[str, str]:
    """Return the comment above each key of the example: "node.mtu" -> its text."""
    found: dict[str, str] = {}
    section = ""
    comment: list[str] = []
    for line in EXAMPLE.read_text().splitlines():
        if table := re.fullmatch(r"\[+(\w+)\]+", line):
            section, comment = table[1], []
        elif key := re.match(r"#?(\w+) = ", line):
            found[f"{section}.{key[1]}"] = " ".join(comment)
            comment = []
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            comment = []
    return found


def place(directory: Path, text: str) -> Path:
    write_private(directory / "home.key", msgspec.json.encode(OWN.value).decode().strip('"'))
    write_private(directory / "relay.secret", "secret")
    path = directory / "example.toml"
    path.write_text(text)
    return path


def test_the_example_loads(tmp_path: Path) -> None:
    file = load(place(tmp_path, EXAMPLE.read_text()), {}).file
    assert file.node.name == "home"
    assert [peer.name for peer in file.peer] == ["laptop"]


def test_every_key_of_the_example_exists() -> None:
    assert set(explained()) == {f"{name}.{field.name}" for name, field in KEYS}


@pytest.mark.parametrize(("section", "field"), KEYS, ids=[f"{name}.{field.name}" for name, field in KEYS])
def test_every_key_states_its_default(section: str, field: structs.FieldInfo) -> None:
    comment = explained()[f"{section}.{field.name}"]
    if field.required:
        assert comment.endswith("Required.")
        return
    stated = re.search(r"Default: (none|\"[^\"]*\"|\[\]|[\w.]+)", comment)
    assert stated, comment
    value: Any = None if stated[1] == "none" else tomllib.loads(f"x = {stated[1]}")["x"]
    assert msgspec.convert(value, field.type) == field.default


def test_what_is_commented_out_is_the_default(tmp_path: Path) -> None:
    # These have none; the line shows their form.
    commented = {"user", "ca_file", "token_file", "preshared_key_file", "listen"}
    text = re.sub(
        r"^#(\w+) = ",
        lambda key: key[0] if key[1] in commented else f"{key[1]} = ",
        EXAMPLE.read_text(),
        flags=re.MULTILINE,
    )
    assert text != EXAMPLE.read_text()
    assert load(place(tmp_path, text), {}).file == load(place(tmp_path, EXAMPLE.read_text()), {}).file

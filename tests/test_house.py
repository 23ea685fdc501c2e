"""The rules of the house that a program can check (CONTRIBUTING says them in words)."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("config", "wg", "transport", "actors")  # a file imports from its own folder and those left of it
MAX_LINES = 400
MAX_STORIES_LINES = 600  # the stories of one machine stay together
OUTSIDE = frozenset(
    ("asyncio", "multiprocessing", "random", "secrets", "select", "selectors", "signal", "socket", "ssl", "subprocess",
     "threading", "time", "zmq", "grpc", "picows", "aioquic", "pyroute2", "fcntl")
)  # fmt: skip
# What touches the world: sockets, threads, processes, clocks, randomness.
IMPURE_FOLDERS = ("drivers", "runtime", "cli", "demo")
IMPURE_FILES = (
    "actors/trace/live.py",  # reads the taps of running processes
    "transport/signal/client.py",  # grpc.aio does the I/O of the signal protocol, so its two ends are drivers
    "transport/signal/server.py",
)
MACHINE_FOLDERS = ("actors/peer", "actors/node", "actors/packet")
ARROW = re.compile(r"-->|<--|->|<-")


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not path.stem.endswith("_pb2") and "_pb2_grpc" not in path.stem]


def machines() -> list[Path]:
    return [path for path in sources(*MACHINE_FOLDERS) if "def handle(self" in path.read_text()]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> list[tuple[str, str, bool]]:
    """Return module, name and whether it is for types only, of each import in a file."""
    tree, found = ast.parse(path.read_text()), []
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, "", id(node) in typing_only) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            found += [(node.module or "", alias.name, id(node) in typing_only) for alias in node.names]
    return found


def is_pure(path: Path) -> bool:
    name = path.relative_to(ROOT)
    return (
        not set(name.parts[:-1]) & set(IMPURE_FOLDERS) and str(name) not in IMPURE_FILES and name.name != "__main__.py"
    )


every_source = pytest.mark.parametrize("path", sources(*ORDER), ids=name_of)
pure_source = pytest.mark.parametrize("path", [path for path in sources(*ORDER) if is_pure(path)], ids=name_of)


@every_source
def test_imports_point_one_way(path: Path) -> None:
    mine = ORDER.index(path.relative_to(ROOT).parts[0])
    right = set(ORDER[mine + 1 :]) | {"tests"}
    assert [module for module, _, _ in imported(path) if module.split(".")[0] in right] == []


@pure_source
def test_what_decides_touches_no_world(path: Path) -> None:
    touched = [
        f"{module}.{name}".rstrip(".")
        for module, name, for_types in imported(path)
        if module.split(".")[0] in OUTSIDE and not for_types and module != "random"
    ]
    assert touched == []


@pure_source
def test_what_decides_imports_nothing_that_touches_the_world(path: Path) -> None:
    wired = [module for module, _, _ in imported(path) if module.split(".")[-1] == "__main__"]
    impure = [
        module
        for module, _, for_types in imported(path)
        if module.split(".")[0] in ORDER and set(module.split(".")[1:]) & set(IMPURE_FOLDERS) and not for_types
    ]
    assert wired + impure == []


@pure_source
def test_randomness_is_handed_in(path: Path) -> None:
    """`Random` may be named as a type; making one, or drawing from the module's, may not."""
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert [call for call in calls if call in ("Random", "os.urandom") or call.startswith("random.")] == []


@pytest.mark.parametrize("path", machines(), ids=name_of)
def test_a_machine_draws_its_states_at_its_head(path: Path) -> None:
    head = ast.get_docstring(ast.parse(path.read_text())) or ""
    stateless = len(re.findall(r"^@dataclass", path.read_text(), re.MULTILINE)) <= 1
    assert ARROW.search(head) or stateless, "draw the states and their arrows"


@pytest.mark.parametrize("path", sources(*ORDER, "tests"), ids=name_of)
def test_a_file_holds_one_idea(path: Path) -> None:
    limit = MAX_STORIES_LINES if path.name.startswith("test_") else MAX_LINES
    assert len(path.read_text().splitlines()) <= limit


@every_source
def test_a_file_says_first_what_it_is(path: Path) -> None:
    assert path.name == "__init__.py" or ast.get_docstring(ast.parse(path.read_text()))

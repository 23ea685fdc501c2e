from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.cli.running import Agent
from tests.actors.cli.fake_agent import FakeAgent


def test_the_lock_tells_whether_an_agent_runs(tmp_path: Path) -> None:
    with FakeAgent(tmp_path) as fake:
        agent = Agent("alice", fake.directory)
        assert agent.supervisor_pid() is not None
        fake.die()
        assert agent.supervisor_pid() is None
    assert Agent("bert", tmp_path / "bert").supervisor_pid() is None


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("snapshots")


@given(content=st.binary(max_size=200) | st.text('{}[]":,0919ea.process', max_size=200).map(str.encode))
@example(b'{"x":' + b"[" * 100_000)
@example(b"\xff")
def test_any_snapshot_is_read_or_called_unreadable(directory: Path, content: bytes) -> None:
    (directory / "status-packet.json").write_bytes(content)
    snapshots, unreadable = Agent("alice", directory).snapshots()
    assert snapshots == []
    assert len(unreadable) == 1
    assert unreadable[0].startswith("status-packet.json cannot be read: ")

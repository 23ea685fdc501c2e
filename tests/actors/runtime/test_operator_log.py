import io
import json
from collections.abc import Iterator

import pytest
from loguru import logger

from actors.addresses import CONTROL_0
from actors.messages.status import PeerStatus, RelayLinkStatus, RelaysStatus
from actors.runtime.operator_log import LoggedStatus
from config import logs
from config.keys import PublicKey, encode_key
from config.schema import LogSection
from tests.kit.bench import Bench

KEYS = [PublicKey(encode_key(number.to_bytes(32, "big"))) for number in range(1000)]
UP = RelaysStatus(links=(RelayLinkStatus(url="rel://r:80", role="home", state="connected"),))


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    yield
    logger.remove()


def connected(key: PublicKey) -> PeerStatus:
    return PeerStatus(peer=key, name=key[:8], state="connected", path="direct")


def test_news_are_lines_with_fields_and_a_thousand_peers_are_no_flood() -> None:
    out = io.StringIO()
    logs.setup(LogSection(level="info", json=True), CONTROL_0, out)
    bench = Bench(LoggedStatus(CONTROL_0))
    bench.tell(*(connected(key) for key in KEYS), UP)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    peers = [line for line in lines if line["event"] == "peer connected"]
    assert len(peers) == logs.MAX_PER_WINDOW
    assert (peers[0]["peer"], peers[0]["path"], peers[0]["level"]) == (KEYS[0][:8], "direct", "info")
    assert [line["relay"] for line in lines if line["event"] == "relay link up"] == ["rel://r:80"]
    assert bench.state.stale  # and Status has them

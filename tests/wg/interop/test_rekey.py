"""Tunnels past REKEY_AFTER_TIME, in real time (started by conftest.py before the first test of the session)."""

import pytest

from tests.wg.interop.rekey import RekeyRun
from wg.constants import REKEY_AFTER_TIME

pytestmark = [pytest.mark.interop, pytest.mark.netns]


@pytest.mark.parametrize("tunnel", [0, 1], ids=["we_initiate", "they_initiate"])
def test_a_tunnel_is_rekeyed_in_time_and_loses_nothing(rekey_run: RekeyRun, tunnel: int) -> None:
    long_tunnel = rekey_run.tunnels[tunnel]
    assert ", 0% packet loss" in long_tunnel.wait()
    assert long_tunnel.between_handshakes_s() >= REKEY_AFTER_TIME - 1
    assert long_tunnel.roles() == [long_tunnel.role] * 2

"""A UDP port that leads nowhere any more, where there is no relay to fall back on (recovery R11)."""

import json

import pytest

from actors.addresses import AGENT
from actors.cli.mail import CommandMail
from actors.cli.running import Agent
from actors.demo.ends import End
from actors.demo.pair import RELAY_PORT, Pair
from actors.demo.traffic import boot_time
from actors.messages.process import RebindWanted
from tests.lab.faults import Drop
from tests.lab.topology import WIREGUARD_PORT

STUCK_S = 15.0  # in which the pair's own rungs come to nothing: a new session, a new search


def supervisor(pair: Pair, end: End) -> dict[str, int]:
    found = json.loads((pair.run_directory(end) / "status-supervisor.json").read_text())["agent"]
    return {name: found[name] for name in ("udp_port", "rebinds")}


@pytest.mark.netns
def test_a_port_that_leads_nowhere_is_left_for_another_also_by_the_next_packet_process() -> None:
    with Pair("rebind") as pair:
        pair.start_servers()
        pair.start_flows()
        started_at = pair.start_agents()
        pair.first_reply_at()
        assert pair.direct_at(started_at) is not None
        assert supervisor(pair, pair.alice) == {"udp_port": WIREGUARD_PORT, "rebinds": 0}
        Drop(pair.hub, f"tcp dport {RELAY_PORT}")
        # As an entry of a NAT or a firewall does, that leads nowhere: of this port alone.
        at = boot_time()
        Drop(pair.alice.host, f"udp sport {WIREGUARD_PORT}", hook="output")
        Drop(pair.alice.host, f"udp dport {WIREGUARD_PORT}")
        pair.wait_until(lambda: pair.path(pair.alice) == pair.path(pair.bob) == "", 30.0, "still connected", "alice")
        pair.wait_until(lambda: boot_time() > at + STUCK_S, 2 * STUCK_S, "time stands still", "alice")
        assert pair.path(pair.alice) == pair.path(pair.bob) == ""
        with CommandMail(Agent(pair.alice.name, pair.run_directory(pair.alice)), "test") as mail:
            mail.post(AGENT, RebindWanted(reason="the ladder says so after five minutes"))
        pair.wait_recovered(at)
        pair.wait_until(lambda: supervisor(pair, pair.alice)["rebinds"] == 1, 5.0, "it is not counted", "alice")
        assert supervisor(pair, pair.alice)["udp_port"] != WIREGUARD_PORT
        at = boot_time()
        pair.alice.host.exec("kill", "-KILL", str(pair.child(pair.alice, "packet")))
        pair.wait_recovered(at)
        assert pair.stop_agents() == [0, 0]

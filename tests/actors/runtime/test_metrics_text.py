from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from actors.cli.report import Report, make_report
from actors.messages.recoveries import Recovered
from actors.messages.status import RuntimeStatus
from actors.runtime import metrics_text as module
from actors.runtime.metrics_text import CAUSES, PATHS, STATES, metrics_text
from tests.actors.cli.fake_agent import child, control, packet, peer, supervisor, tunnel
from tests.config.samples import BOB, CAROL

NOW = 5000.0


def report(**changes: Any) -> Report:
    told = peer(NOW, recovered=(Recovered(cause="silence", count=19, last_s=0.8, longest_s=3.2),), disruptions=3)
    snapshots = [
        supervisor(NOW, child("control-0"), child("packet", restarts=2)),
        control(NOW, told, peer(NOW, CAROL, name="carol", state="connecting")),
        packet(
            NOW,
            tunnel(NOW, drops={"replay": 3}),
            runtime=RuntimeStatus(mailbox_depth=7, counters={"guard.offers": 5}, dead_letters={"no actor": 1}),
        ),
    ]
    return msgspec.structs.replace(make_report("alice", 1, snapshots, (), NOW), **changes)


def parsed(found: Report) -> dict[str, Metric]:
    text = metrics_text(found, "0.1.0", Counter(answered=4))
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))  # the samples of one name stand together
    assert all(family.documentation and family.type in {"gauge", "counter"} for family in families)
    return {family.name: family for family in families}


def value(families: dict[str, Metric], family: str, **labels: str) -> float:
    found = [one.value for one in families[family].samples if one.labels.items() >= labels.items()]
    assert len(found) == 1, (family, labels, families[family].samples)
    return float(found[0])


def test_what_status_says_of_a_peer() -> None:
    found = parsed(report())
    assert value(found, "homing_peer_recoveries", peer="bob", cause="silence") == 19
    assert value(found, "homing_peer_recoveries", peer="bob", cause="relay") == 0
    assert len([one for one in found["homing_peer_recoveries"].samples if one.labels["peer"] == "bob"]) == len(CAUSES)
    assert [value(found, "homing_peer_path", peer="bob", path=kind) for kind in PATHS] == [
        float(kind == "relayed") for kind in PATHS
    ]
    assert [value(found, "homing_peer_state", peer="bob", state=state) for state in STATES] == [
        float(state == "connected") for state in STATES
    ]
    assert value(found, "homing_peer_proof_age_seconds", peer="bob") == 2.0
    assert value(found, "homing_peer_rtt_seconds", peer="bob") == 0.0123
    assert value(found, "homing_peer_received_bytes", peer="bob") == 1_234_567
    assert value(found, "homing_peer_sent_bytes", peer="bob") == 89
    assert value(found, "homing_peer_dropped_packets", peer="bob", reason="replay") == 3
    assert value(found, "homing_peer_disruptive_actions", peer="bob") == 3
    assert value(found, "homing_peer_quarantined", peer="bob") == 0
    assert [one.labels["peer"] for one in found["homing_peer_rtt_seconds"].samples] == ["bob"]  # carol has none


def test_what_status_says_of_links_and_processes() -> None:
    found = parsed(report(drops={"stranger": 11}, interface_repairs=2))
    assert value(found, "homing_info", node="alice", version="0.1.0") == 1
    assert (value(found, "homing_peers", state="connected"), value(found, "homing_peers", state="connecting")) == (1, 1)
    assert value(found, "homing_link_connected", role="home", url="rel://203.0.113.1:8080") == 1
    assert value(found, "homing_link_connected", role="signal") == 1
    assert value(found, "homing_process_restarts", process="packet") == 2
    assert value(found, "homing_process_mailbox_depth", process="packet") == 7
    assert value(found, "homing_process_dead_letters", process="packet") == 1
    assert value(found, "homing_process_events", process="packet", event="guard.offers") == 5
    assert value(found, "homing_process_up", process="control-0") == 1
    assert value(found, "homing_dropped_packets", reason="stranger") == 11
    assert value(found, "homing_interface_repairs") == 2
    assert value(found, "homing_metrics_requests", outcome="answered") == 4


def test_a_process_that_is_silent_is_not_up() -> None:
    found = parsed(make_report("alice", 1, [supervisor(NOW), control(NOW, age_s=70)], (), NOW))
    assert value(found, "homing_process_up", process="control-0") == 0
    assert value(found, "homing_process_snapshot_age_seconds", process="control-0") == 70
    assert value(found, "homing_process_up", process="packet") == 0


def test_peers_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PEERS", 1)
    found = parsed(report())
    assert value(found, "homing_peers_left_out") == 1
    assert {one.labels["peer"] for one in found["homing_peer_state"].samples} == {"bob"}


def test_an_agent_of_which_nothing_is_known() -> None:
    assert parsed(make_report("alice", None, (), (), NOW))["homing_draining"].samples[0].value == 0


@given(st.text(), st.integers(min_value=0, max_value=10**18), st.floats(min_value=0, allow_infinity=False))
def test_any_name_and_number_is_read_back(name: str, count: int, age: float) -> None:
    odd = peer(NOW, BOB, name=name)
    one = make_report("alice", 1, [control(NOW, odd), packet(NOW, tunnel(NOW, rx_bytes=count))], (), NOW)
    one = msgspec.structs.replace(one, peers=tuple(msgspec.structs.replace(each, rtt_s=age) for each in one.peers))
    found = parsed(one)
    (sample,) = found["homing_peer_received_bytes"].samples
    assert float(sample.value) == float(count)
    assert sample.labels["peer"] == name.encode("utf-8", "backslashreplace").decode()

"""Which causes the mail of a trouble names, and which it leaves open."""

from collections.abc import Callable

import pytest

from actors.messages.peer import IceLost
from actors.messages.process import ResetPeer
from actors.trace.causes import SIGNAL_NOTICES_S, Cause
from actors.trace.explain import QUIET_S
from tests.actors.trace.stories import CLOSED, OTHER_RELAY, REFUSED, RELAY, SILENT, Story
from tests.config.samples import BOB, CAROL
from transport.signal.timing import Timing

DISPLACED = "replaced: another client registered with our key; do two agents have it?"
SIGNAL_SILENT = "the link went silent: nothing came for 12 s, not even our heartbeat"
SIGNAL_REFUSED = "unreachable: 203.0.113.1:10000: nothing listens there (connection refused)"
SIGNAL_CLOSED = "unreachable: 203.0.113.1:10000: the connection was closed"
MOVED = "192.168.1.2 looks like 198.51.100.3:51820 from outside, after 198.51.100.1:51820"


def relayed_path_dies(story: Story) -> Story:
    return story.doubtful(1.3, "relayed").dead(2.5, "relayed").relay_lost(2.5)


def direct_path_dies(story: Story, *, stun: bool = True) -> Story:
    """The relay carries on."""
    if stun:
        story.stun_doubtful(0.5)
    else:
        story.doubtful(1.5, "direct").heard(1.7, "relayed").dead(2.8, "direct")
    return story.echoed(0.6, "relayed").heard(1.5, "relayed").stun_dead(2.9 if not stun else 2.1).proven(3.0, "relayed")


def half_open(story: Story) -> Story:
    return relayed_path_dies(story).link(3.0, "broke", SILENT).link(3.3, "opened").proven(3.4, "relayed")


def closed(story: Story) -> Story:
    return story.link(0.0, "broke", CLOSED).relay_lost(0.0)


TOLD: dict[str, tuple[Cause, Callable[[Story], Story]]] = {
    "nothing": ("none", lambda story: story),
    "a relay link alone went silent": ("relay_link_half_open", lambda story: half_open(story).offer(3.1)),
    "a relay link that went silent, and a signal link that lived on": ("relay_link_half_open", half_open),
    "the signal link went silent too, long after": (
        "unknown",
        lambda story: half_open(story).signal(3.0 + QUIET_S + 5, SIGNAL_SILENT),
    ),
    "the signal link was away before": (
        "unknown",
        lambda story: half_open(
            story.signal(-60.0, SIGNAL_CLOSED).signal(-59.0, SIGNAL_REFUSED, before="Disconnected")
        ),
    ),
    "the direct path went with the relay link": (
        "unknown",
        lambda story: half_open(story).dead(3.5, "direct"),
    ),
    "both links went silent": ("own_network", lambda story: half_open(story).signal(14.0, SIGNAL_SILENT).signal(14.2)),
    "an address from STUN": ("nat_changed", lambda story: half_open(story).outside(6.0, "network_changed", MOVED)),
    "an address of ours": (
        "nat_changed",
        lambda story: half_open(story.ours(-9, "198.51.100.1")).ours(5, "198.51.100.3"),
    ),
    "addresses of both": (
        "both_nats_changed",
        lambda story: (
            half_open(story.theirs(-9, "198.51.100.2"))
            .outside(6.0, "network_changed", MOVED)
            .theirs(6.1, "198.51.100.4")
        ),
    ),
    "an address of the peer's": (
        "remote_nat_changed",
        lambda story: (
            relayed_path_dies(story.theirs(-9, "198.51.100.2")).theirs(3, "198.51.100.4").proven(4, "relayed")
        ),
    ),
    "an address of the peer's, and the relay carries on": (
        "remote_nat_changed",
        lambda story: direct_path_dies(story.theirs(-9, "198.51.100.2")).theirs(2.5, "198.51.100.4"),
    ),
    "the peer at two addresses in turn": (
        "remote_interrupted",
        lambda story: (
            relayed_path_dies(story.theirs(-9, "198.51.100.2")).theirs(3, "198.51.100.4").theirs(4, "198.51.100.2")
        ),
    ),
    "an address beside a path that answers": (
        "remote_interrupted",
        lambda story: (
            story.theirs(-9, "198.51.100.2")
            .stun_doubtful(1.0, "the remote has begun another ICE session")
            .theirs(1.1, "198.51.100.4")
            .proven(1.2, "relayed")
        ),
    ),
    "an address from STUN, much later than what broke": (
        "unknown",
        lambda story: half_open(story).doubtful(25.0, "relayed").outside(40.0, "network_changed", MOVED),
    ),
    "a relay that refuses for a while": (
        "relay_restarted",
        lambda story: closed(story).link(0.3, "failed", REFUSED).link(1.7, "opened").proven(1.8, "relayed"),
    ),
    "a relay that refuses for good": (
        "relay_unreachable",
        lambda story: closed(story).link(0.3, "failed", REFUSED).link(0.9, "failed", REFUSED),
    ),
    "another relay in its place": (
        "relay_unreachable",
        lambda story: (
            relayed_path_dies(story)
            .link(3.0, "broke", SILENT)
            .link(4.0, "opened", relay=OTHER_RELAY)
            .proven(4.2, "relayed")
        ),
    ),
    "a relay link that is closed, and opened at once": (
        "unknown",
        lambda story: closed(story).link(0.2, "opened").proven(0.3, "relayed"),
    ),
    "a relay link that may come back": ("unknown", closed),
    "the peer's offers name another relay": (
        "remote_moved_relay",
        lambda story: relayed_path_dies(story).offer(3.5, OTHER_RELAY).proven(4.0, "relayed"),
    ),
    "another peer's offers name another relay": (
        "remote_interrupted",
        lambda story: relayed_path_dies(story).offer(3.5, OTHER_RELAY, of=CAROL).proven(4.0, "relayed"),
    ),
    "silence with our links up": (
        "remote_interrupted",
        lambda story: relayed_path_dies(story).offer(3.5).proven(4.0, "relayed"),
    ),
    "neither WireGuard nor STUN on the direct path": ("direct_path_silent", direct_path_dies),
    "packets on the direct path, and no answers": (
        "direct_one_way",
        lambda story: direct_path_dies(story.heard(0.1, "direct").heard(1.1, "direct")),
    ),
    "packets that were on their way": (
        "direct_path_silent",
        lambda story: direct_path_dies(story.heard(0.4, "direct")),
    ),
    "answers on the direct path": ("unknown", lambda story: direct_path_dies(story.echoed(1.0, "direct"))),
    "STUN passes and WireGuard does not": ("wireguard_dropped", lambda story: direct_path_dies(story, stun=False)),
    "the relay died with the direct path": (
        "unknown",
        lambda story: (
            story.stun_doubtful(0.5).stun_dead(2.1).relay_lost(2.6).link(3.5, "broke", SILENT).link(3.7, "opened")
        ),
    ),
    "sleep": (
        "resumed_from_sleep",
        lambda story: half_open(story.outside(0.2, "resumed", "slept for 300 s")).offer(3.1),
    ),
    "an address of this machine's": (
        "interface_changed",
        lambda story: half_open(story.outside(0.2, "network_changed", "our addresses are 192.168.1.3")),
    ),
    "an address of this machine's, later": (
        "unknown",
        lambda story: half_open(story).outside(9.0, "network_changed", "our addresses are 192.168.1.3"),
    ),
    "an address of this machine's, long before": (
        "relay_restarted",
        lambda story: (
            closed(story.outside(-20.0, "network_changed", "our addresses are 192.168.1.3"))
            .link(0.3, "failed", REFUSED)
            .link(1.7, "opened")
        ),
    ),
    "a packet process killed": (
        "packet_process_killed",
        lambda story: story.exited(0.0, "packet", "killed by SIGKILL").relay_lost(0.3).proven(0.5, "relayed"),
    ),
    "a packet process that failed": ("packet_process_failed", lambda story: story.exited(0.0, "packet", "exit code 1")),
    "a packet process that hung": (
        "packet_process_hung",
        lambda story: story.exited(1.0, "packet", "killed by SIGKILL", hung=True).proven(1.5, "relayed"),
    ),
    "a control process that hung": (
        "control_process_hung",
        lambda story: story.exited(1.0, "control-0", "killed by SIGKILL", hung=True),
    ),
    "a control process killed": (
        "control_process_killed",
        lambda story: story.exited(1.0, "control-0", "killed by SIGKILL"),
    ),
    "another with our key, says the signal server": ("same_key_twice", lambda story: story.signal(0.5, DISPLACED)),
    "another with our key, say relay servers": (
        "same_key_twice",
        lambda story: (
            story.link(0.5, "broke", "the relay server said Close")
            .link(0.7, "opened")
            .link(1.0, "broke", "the relay server said Close")
            .link(1.2, "opened")
            .link(1.5, "broke", "the relay server said Close")
        ),
    ),
    "a signal server that refuses for a while": (
        "signal_restarted",
        lambda story: story.signal(0.0, SIGNAL_CLOSED).signal(0.3, SIGNAL_REFUSED, before="Disconnected").signal(1.5),
    ),
    "a signal server that is away": (
        "signal_away",
        lambda story: story.signal(0.0, SIGNAL_CLOSED).signal(0.3, SIGNAL_REFUSED, before="Disconnected"),
    ),
    "a signal link that went silent": ("unknown", lambda story: story.signal(0.0, SIGNAL_SILENT).signal(0.3)),
    "probes lost again and again": (
        "packets_lost",
        lambda story: story.doubtful(0, "relayed").proven(0.3, "relayed").doubtful(5, "relayed").proven(5.3, "relayed"),
    ),
    "a probe lost once": ("unknown", lambda story: story.doubtful(0, "relayed").proven(0.3, "relayed")),
    "the operator": (
        "operator_reset",
        lambda story: relayed_path_dies(story.mail(0.0, "bob/conn", ResetPeer(peer=BOB))).proven(3.0, "relayed"),
    ),
    "the operator, too late": (
        "remote_interrupted",
        lambda story: relayed_path_dies(story).mail(2.9, "bob/conn", ResetPeer(peer=BOB)).proven(3.0, "relayed"),
    ),
    "a search that failed": (
        "none",
        lambda story: story.mail(0.0, "bob/conn", IceLost(peer=BOB, generation=0, reason="none of 3 pairs answered")),
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_cause_that_the_mail_leaves(name: str) -> None:
    cause, happened = TOLD[name]
    told = happened(Story().up()).told()
    assert told.cause == cause, told
    assert told.because


@pytest.mark.parametrize(
    ("asked_at", "cause"), [(3.0 + SIGNAL_NOTICES_S - 0.1, "unknown"), (3.0 + SIGNAL_NOTICES_S, "relay_link_half_open")]
)
def test_a_signal_link_that_nobody_used_is_a_witness_once_it_would_have_been_found_dead(
    asked_at: float, cause: Cause
) -> None:
    assert half_open(Story().up().offer(0.1)).told(asked_at).cause == cause
    assert Timing().silence_s + Timing().probe_s < SIGNAL_NOTICES_S


def test_a_signal_server_that_is_away_is_told_beside_what_broke_the_path() -> None:
    story = Story().up().signal(-5.0, SIGNAL_CLOSED).signal(-4.5, SIGNAL_REFUSED, before="Disconnected")
    told = closed(story).link(0.3, "failed", REFUSED).link(1.7, "opened").proven(1.8, "relayed").told()
    assert told.last is not None
    assert (told.cause, told.last.also) == ("relay_restarted", ("signal_away",))


def test_of_two_faults_at_once_the_first_is_the_cause() -> None:
    story = direct_path_dies(Story().up(), stun=False)
    story.link(5.0, "broke", CLOSED).relay_lost(5.0).link(5.3, "failed", REFUSED).link(6.5, "opened")
    told = story.proven(6.6, "relayed").told()
    assert told.last is not None
    assert (told.cause, told.last.also) == ("wireguard_dropped", ("relay_restarted",))
    assert RELAY in " ".join(one.text for one in told.last.happenings)

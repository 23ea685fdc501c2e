"""What is told of a peer's troubles: where one begins and ends, in which order, how long it lasted."""

from msgspec import structs

from actors.messages import node, packet
from actors.trace.explain import QUIET_S
from actors.trace.facts import facts_about
from tests.actors.trace.stories import CLOSED, FAULT, REFUSED, RELAY, SILENT, Story
from tests.config.samples import BOB, CAROL


def restarted(story: Story, at: float = 0.0) -> Story:
    story.link(at, "broke", CLOSED).relay_lost(at + 0.01, "the link closed").link(at + 0.3, "failed", REFUSED)
    return story.link(at + 0.8, "failed", REFUSED).link(at + 1.7, "opened").proven(at + 1.8, "relayed")


def test_a_trouble_is_told_from_its_root_to_its_end() -> None:
    told = restarted(Story().up()).told()
    assert told.last is not None
    assert told.cause == told.last.cause == "relay_restarted"
    assert [one.text for one in told.last.happenings] == [
        f"the link to {RELAY} broke: {CLOSED}",
        "the relayed connection was lost: the link closed",
        f"no link to {RELAY}: {REFUSED}",  # once
        f"the link to {RELAY} was up",
        "the relayed path was proven",
    ]
    assert told.last.began_at == FAULT
    assert told.last.path == "relayed"
    assert told.last.outage_s is not None
    assert round(told.last.outage_s, 3) == 1.79  # from what broke of the peer's
    assert told.earlier == ()


def test_what_was_recovered_is_apart_from_what_breaks_later() -> None:
    story = restarted(Story().up())
    told = story.doubtful(2 + QUIET_S, "relayed").dead(3 + QUIET_S, "relayed").told(state="connecting", path=None)
    assert told.last is not None
    assert (told.cause, told.last.outage_s, told.last.path_kept) == ("remote_interrupted", None, False)
    assert [(one.cause, one.happenings) for one in told.earlier] == [("relay_restarted", ())]


def test_what_breaks_with_a_bang_after_a_recovery_is_another_trouble() -> None:
    story = Story().up().doubtful(0.0, "relayed").dead(1.2, "relayed").proven(3.0, "relayed")
    told = restarted(story, at=9.0).told()
    assert (told.cause, [one.cause for one in told.earlier]) == ("relay_restarted", ["remote_interrupted"])
    assert told.last is not None
    assert told.last.happenings[0].text == f"the link to {RELAY} broke: {CLOSED}"


def test_links_that_died_together_are_one_trouble_however_late_the_last_is_found_dead() -> None:
    story = Story().up().doubtful(1.3, "relayed").link(3.0, "broke", SILENT).link(3.3, "opened")
    told = story.proven(3.4, "relayed").signal(QUIET_S, "the link went silent: nothing came for 30 s").told()
    assert (told.cause, told.earlier) == ("own_network", ())


def test_before_the_first_proof_nothing_was_broken() -> None:
    story = Story().mail(-5.0, "peers", node.PeerStarted(peer=BOB))
    story.relay_lost(-4.0).outside(-3.0, "network_changed", "our addresses are 192.168.1.3")
    assert story.told(state="connecting", path=None, reason="").last is None
    assert story.proven(0.0, "relayed").told().cause == "none"


def test_a_process_that_dies_before_it_was_up_is_no_trouble_and_one_that_was_up_is() -> None:
    story = Story().mail(-5.0, "peers", node.PeerStarted(peer=BOB)).exited(-4.0, "packet", "exit code 1")
    assert story.proven(0.0, "relayed").told().cause == "none"
    # The control process that was killed has forgotten everything; the supervisor has not.
    story = Story().ready("control-0", -50.0).exited(0.0, "control-0", "killed by SIGKILL")
    story.mail(0.5, "peers", node.PeerStarted(peer=BOB)).proven(0.6, "relayed")
    assert story.told().cause == "control_process_killed"


def test_an_agent_that_runs_for_long_has_forgotten_its_beginning() -> None:
    story = Story().heard(-10.0, "relayed").doubtful(0.0, "relayed").dead(1.0, "relayed")
    assert story.told().cause == "remote_interrupted"


def test_a_direct_path_that_was_found_late_is_told_when_nothing_broke() -> None:
    story = Story().up().proven(0.0, "direct")
    assert story.told(path="direct").cause == "direct_found"
    assert story.told(path="relayed").cause == "none"
    story.outside(-1.0, "network_changed", "our addresses are 192.168.1.2")
    told = story.told(path="direct")
    assert told.last is not None
    assert (told.cause, told.last.cause) == ("direct_found", "interface_changed")


def test_a_peer_that_was_never_reached_is_explained_by_its_status() -> None:
    silent = "the remote has not answered any offer (9 sent)"
    told = Story().told(state="connecting", path=None, reason=silent)
    assert (told.cause, told.because, told.known_since) == ("remote_never_answered", silent, None)
    assert Story().told(state="connecting", path=None).cause == "unknown"


def test_mail_of_another_peer_and_what_was_not_delivered_bear_on_nothing() -> None:
    closing = packet.LinkClosed(link=1, reason="closed by us", was_open=True)
    story = Story().up().mail(0.0, "relays", closing)
    story.mail(1.0, f"peer/{CAROL}/conn", packet.RelayedOpened(peer=CAROL, generation=1, link=1))
    assert story.told().cause == "none"
    assert facts_about(CAROL, story.records)[-1].kind != "path_proven"


def test_an_unreadable_body_is_no_news() -> None:
    story = restarted(Story().up())
    broken = [structs.replace(one, body=b"") for one in story.records]
    assert facts_about(BOB, broken)  # read as far as the tags go
    Story(records=broken).told()


def test_a_peer_that_was_never_reached_for_want_of_a_relay() -> None:
    def cause(story: Story, reason: str = "") -> str:
        return story.told(state="connecting", path=None, reason=reason).cause

    refused = "closed during login, so the relay refused our secret or token (the other end closed the connection)"
    assert cause(Story().link(0.0, "failed", REFUSED)) == "relay_unreachable"
    assert cause(Story().link(0.0, "failed", refused)) == "login_refused"
    assert cause(Story().link(0.0, "opened"), "no relay in the remote's offer") == "remote_without_relay"


def test_what_broke_beside_the_path_is_not_its_cause() -> None:
    story = Story().up().signal(-5.0, "the connection was closed").signal(-4.0, REFUSED, before="Disconnected")
    told = story.doubtful(0.0, "relayed").proven(0.3, "relayed").told()
    assert told.last is not None
    assert (told.cause, told.last.also) == ("unknown", ("signal_away",))


def test_what_names_the_cause_is_told_in_words() -> None:
    story = Story().up().theirs(-9.0, "198.51.100.2").doubtful(1.3, "relayed").dead(2.5, "relayed")
    moved = story.theirs(3.0, "198.51.100.4").proven(4.0, "relayed").told()
    assert moved.last is not None
    assert "the peer may be reached at 198.51.100.4 (srflx)" in [one.text for one in moved.last.happenings]
    assert all(one.text for one in moved.last.happenings)

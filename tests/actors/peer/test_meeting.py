import msgspec

from actors.messages.peer import RelayTurn
from actors.peer.meeting import Meeting
from tests.actors.peer.names import BOB

HOME, THEIRS, THIRD = "rel://home.test:1", "rel://theirs.test:1", "rel://third.test:1"


def turn(url: str | None = THEIRS, *urls: str, ours: bool = True) -> RelayTurn:
    return RelayTurn(peer=BOB, turn=1, relay_url=url, relay_ip=None, relay_urls=urls, ours=ours)


def controlling(*turns: RelayTurn, home_url: str | None = HOME) -> Meeting:
    meeting = Meeting(controller=True, home_url=home_url)
    for each in turns:
        meeting.learn(each)
    return meeting


def test_the_pair_meets_at_the_controllers_home() -> None:
    assert controlling(turn()).url() == HOME
    other = Meeting(controller=False, home_url=HOME)
    other.learn(turn(THEIRS))
    assert other.url() == THEIRS
    assert not other.move_on()  # the controller chooses
    assert controlling().url() is None


def test_the_controller_goes_round_what_the_remote_names() -> None:
    meeting = controlling(turn(THEIRS, THEIRS, THIRD, HOME))
    places = []
    for _ in range(4):
        assert meeting.move_on()
        places.append(meeting.url())
    assert places == [THEIRS, THIRD, HOME, THEIRS]


def test_where_there_is_one_relay_there_is_nowhere_to_go() -> None:
    meeting = controlling(turn(HOME, HOME))
    assert not meeting.move_on()
    assert meeting.url() == HOME
    assert not controlling(turn(None)).move_on()
    assert not controlling().move_on()


def test_without_a_home_of_ours_the_pair_can_meet_at_theirs() -> None:
    meeting = controlling(turn(), home_url=None)
    assert meeting.url() is None
    assert meeting.move_on()
    assert meeting.url() == THEIRS
    meeting.settle(HOME)  # it is back: what works stays
    assert meeting.url() == THEIRS


def test_a_place_that_the_remote_has_left_is_left() -> None:
    meeting = controlling(turn(THEIRS))
    meeting.move_on()
    meeting.learn(turn(None))  # its link is down for a moment
    assert meeting.url() == THEIRS
    meeting.learn(turn(THIRD))
    assert meeting.url() == HOME


def test_where_the_pair_met_before_we_began_is_no_reason_to_move() -> None:
    meeting = Meeting(controller=True, home_url=HOME, url=THEIRS)
    meeting.learn(turn(THEIRS))
    assert meeting.url() == THEIRS


def test_a_foreign_remote_without_a_relay_is_met_nowhere() -> None:
    assert controlling(turn(None, ours=False)).url() is None
    assert controlling(turn(None)).url() == HOME


def unreached(url: str, *urls: str) -> RelayTurn:
    return msgspec.structs.replace(turn(THEIRS, THEIRS, *urls), relay_unreached=url)


def test_where_the_remote_says_it_cannot_be_the_pair_does_not_meet() -> None:  # S23
    meeting = controlling(turn(), unreached(HOME))
    assert meeting.url() == THEIRS
    meeting.learn(unreached(HOME))
    assert meeting.url() == THEIRS
    meeting.learn(unreached(THEIRS, THIRD))
    assert meeting.url() == THIRD
    assert controlling(turn(HOME), msgspec.structs.replace(turn(HOME), relay_unreached=HOME)).url() == HOME
    other = Meeting(controller=False, home_url=HOME)
    other.learn(unreached(THEIRS))
    assert other.url() == THEIRS  # the controller chooses


def test_the_controller_goes_home_from_where_it_cannot_be() -> None:
    meeting = controlling(turn(), home_url=None)
    meeting.move_on()
    meeting.unreached = THEIRS
    meeting.settle(None)
    assert meeting.url() == THEIRS
    meeting.settle(HOME)
    assert meeting.url() == HOME

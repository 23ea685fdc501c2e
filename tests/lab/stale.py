"""Answers that are held back until their sessions are past, and come then (recovery S13)."""

import time

from actors.demo.ends import End
from actors.demo.pair import PairFailed
from actors.demo.traffic import boot_time
from actors.trace.record import fields_of
from tests.lab.breaks import APART_S, Broken, direct_cut, network_event, pass_on
from tests.lab.stage import Stage

HELD_S, MOVED_S = 20.0, 30.0  # for offers to be answered, and for the pair to move from path to path
CALM_S = 9.0  # after it has moved: nothing of that follows


def old_answers(stage: Stage) -> Broken:
    """An answer to each end is held back until both have begun other ICE sessions, and comes then (S13)."""
    _lose_direct_path(stage)
    held = _hold_back(stage)
    _find_direct_path(stage)
    _begin_other_sessions(stage)
    _find_direct_path(stage)
    time.sleep(CALM_S)
    at = boot_time()
    stage.meddle("release")

    if not stage.wait_for(lambda: all(_came(stage, end, held[end.public_key], at) for end in stage.ends), APART_S):
        raise PairFailed(
            f"the answers that were held back have not come within {APART_S:.0f} s, or not of old sessions"
        )
    return Broken(at, calm_since=at)


def _came(stage: Stage, end: End, nonce: str, since: float) -> bool:
    """Tell whether this answer came to an end since then, and is of another session of the remote than the present."""
    records = [record for record in stage.records(end, 0.0) if record.kind == "delivered"]
    present = [fields_of(record)["remote_session"] for record in records if record.tag == "ice_pair_proven"]
    answers = (fields_of(one) for one in records if one.tag == "answer_received" and one.at >= since)
    return any(one["nonce"].hex() == nonce and one["description"]["session"] != present[-1] for one in answers)


def _hold_back(stage: Stage) -> dict[str, str]:
    """Hold the next answer to each end back, and return their nonces by the ends' keys."""
    held: dict[str, str] = {}
    stage.meddle("hold")
    _make_offers(stage)

    def both_are() -> bool:
        held.update(stage.meddle("held"))
        return len(held) == len(stage.ends)

    if not stage.wait_for(both_are, HELD_S):
        raise PairFailed(f"{len(held)} answers to hold back within {HELD_S:.0f} s")
    return held


def _lose_direct_path(stage: Stage) -> None:
    direct_cut(stage)
    if not stage.wait_proven("relayed", MOVED_S):
        raise PairFailed(f"not relayed {MOVED_S:.0f} s after the direct path was cut")


def _begin_other_sessions(stage: Stage) -> None:
    """Keep the direct path cut until that is distress to both ends (recovery R6)."""
    at = direct_cut(stage).at

    def both_have() -> bool:
        return all(any(one.tag == "local_ice_changed" for one in stage.records(end, at)) for end in stage.ends)

    if not stage.wait_for(both_have, MOVED_S):
        raise PairFailed(f"no other ICE sessions {MOVED_S:.0f} s after the direct path was cut")


def _find_direct_path(stage: Stage) -> None:
    pass_on(stage)
    _make_offers(stage)
    if not stage.wait_proven("direct", MOVED_S):
        raise PairFailed(f"not direct {MOVED_S:.0f} s after it was possible again")


def _make_offers(stage: Stage) -> None:
    for end in stage.ends:
        network_event(end)

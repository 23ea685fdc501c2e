"""Takes one rule out at a time, and looks for the seed that notices: `python -m tests.simulator.mutants`.

Each mutant is the product with one method replaced, from outside.  The seeds are those of `make simulate`, from 0 on.
It counts as found when the product itself passes the same seed.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from actors.addresses import peer_addresses
from actors.effects import Effect
from actors.messages.node import CloseRelayed
from actors.messages.packet import CloseOnLink, RelayedCloseDone
from actors.messages.peer import Distress, RelayEvidence, WatchPath
from actors.node.relays import Relays
from actors.peer.conn import Conn
from actors.peer.guard import Guard
from actors.peer.ice_worker import IceWorker
from actors.peer.offer_listener import OfferListener
from actors.peer.relay_worker import RelayWorker
from tests.simulator.draw import draw
from tests.simulator.run import judge, perform
from tests.simulator.scenario import NAMED, Scenario

SEEDS = 1000
TEARDOWNS = 1000  # in a virtual hour, of the mutant that always closes (recovery.md, the second cure)

Patch = Callable[[Any], Any]


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One rule taken out."""

    name: str
    where: Any  # the class
    method: str
    patch: Patch  # the method -> what takes its place

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the product be this mutant."""
        whole = getattr(self.where, self.method)
        setattr(self.where, self.method, self.patch(whole))
        try:
            yield
        finally:
            setattr(self.where, self.method, whole)


def _always_reuse(_whole: Any) -> Any:
    def on_evidence(self: RelayWorker, evidence: RelayEvidence, now: float) -> list[Effect]:
        return []

    return on_evidence


def _always_close(_whole: Any) -> Any:
    def reuse(self: Any, state: Any, turn: Any, now: float) -> Any:
        return self._close(state.generation, turn=turn.turn, lost="an offer came", distress=False, now=now)

    return reuse


def _keep_session_on_timeout(whole: Any) -> Any:
    def begin_session(self: Any) -> None:
        ours, had_agent = self._ours, type(self.state).__name__ != "Resting"
        whole(self)
        if had_agent:
            self._ours, self.state = ours, replace(self.state, session=ours.id)

    return begin_session


def _close_before_rotate(_whole: Any) -> Any:
    def rotate(self: Any, reason: str, *_tried: Any) -> Any:
        # The agent is closed, and its own last words are then of a session that nobody knows.
        return self._leave(reason, 0.0)

    return rotate


def _keep_session_on_relay_timeout(whole: Any) -> Any:
    def on_distress(self: Any, distress: Distress) -> Any:
        return [] if distress.path == "relayed" else whole(self, distress)

    return on_distress


def _keep_remote_id(whole: Any) -> Any:
    def on_turn(self: Any, turn: Any, now: float) -> Any:
        known = getattr(self, "_kept_id", None)
        self._kept_id = turn.session
        if type(self.state).__name__ == "Resting" and turn.session is not None and turn.session == known:
            return "kept", []
        return whole(self, turn, now)

    return on_turn


def _rotate_with_remote(whole: Any) -> Any:
    def replace_agent(self: Any, turn: Any, now: float) -> Any:
        rotated = self._rotate("the remote has begun another ICE session")
        return [*rotated, *self._open(turn, now)]

    return replace_agent


def _clear_evidence_early(whole: Any) -> Any:
    def open_it(self: Any, *args: Any, **named: Any) -> Any:
        effects = whole(self, *args, **named)
        self._evidence = None
        return effects

    return open_it


def _keep_evidence_after_opening(whole: Any) -> Any:
    def on_opened(self: Any, *args: Any) -> Any:
        evidence = self._evidence
        effects = whole(self, *args)
        self._evidence = evidence
        return effects

    return on_opened


def _need_handle(whole: Any) -> Any:
    def on_evidence(self: Any, evidence: RelayEvidence, now: float) -> Any:
        return whole(self, evidence, now) if type(self.state).__name__ == "Open" else []

    return on_evidence


def _close_at_home_only(whole: Any) -> Any:
    def on_close(self: Any, close: CloseRelayed, now: float) -> Any:
        server = self._where.get(close.peer)
        effects = whole(self, close, now)
        if server is None or server.url == getattr(self.state, "server", None):
            return effects
        done = RelayedCloseDone(peer=close.peer, generation=close.generation)
        kept = [each for each in effects if not isinstance(getattr(each, "message", None), CloseOnLink)]
        return [*kept, peer_addresses(close.peer).relay_worker.send(done)]

    return on_close


def _work_twice(_whole: Any) -> Any:
    def is_repeated(self: Any, nonce: bytes) -> bool:
        return False

    return is_repeated


def _no_watcher_after_fallback(whole: Any) -> Any:
    def direct_packets(self: Any, choice: Any) -> Any:
        effects = whole(self, choice)
        in_use = self._watched.path if self._watched is not None else None
        self._fell_back = in_use == "relayed" and (getattr(self, "_was_direct", False))
        self._was_direct = in_use == "direct" or self._fell_back
        if not self._fell_back:
            return effects
        nobody = WatchPath(peer=self._peer, path=None)
        return [
            replace(each, message=nobody) if isinstance(getattr(each, "message", None), WatchPath) else each
            for each in effects
        ]

    return direct_packets


def _reuse_for_good(whole: Any) -> Any:
    def on_close_done(self: Any, state: Any, now: float) -> Any:
        if state.lost is not None and state.turn is None:
            latest, self._latest = self._latest, None
            effects = whole(self, state, now)
            self._latest = latest
            return effects
        return whole(self, state, now)

    return on_close_done


def _forget_backoff(whole: Any) -> Any:
    def on_path_lost(self: Any, reason: str, now: float) -> Any:
        if type(self.state).__name__ == "Proven":
            self.state = replace(self.state, tries=0)
        return whole(self, reason, now)

    return on_path_lost


def _mutant(name: str, where: Any, method: str, patch: Patch) -> Mutant:
    return Mutant(name=name, where=where, method=method, patch=patch)


MUTANTS = (
    _mutant("always reuse", RelayWorker, "_on_evidence", _always_reuse),
    _mutant("always close", RelayWorker, "_reuse", _always_close),
    _mutant("no rotation on ICE timeout", IceWorker, "_begin_session", _keep_session_on_timeout),
    _mutant("close before rotate", IceWorker, "_rotate", _close_before_rotate),
    _mutant("no rotation on relay timeout", IceWorker, "_on_distress", _keep_session_on_relay_timeout),
    _mutant("remote id kept", IceWorker, "_on_turn", _keep_remote_id),
    _mutant("rotation also on the remote's change", IceWorker, "_replace", _rotate_with_remote),
    _mutant("evidence cleared before the reopening succeeded", RelayWorker, "_open", _clear_evidence_early),
    _mutant("evidence not cleared by a plain opening", RelayWorker, "_on_opened", _keep_evidence_after_opening),
    _mutant("evidence ignored without a handle", RelayWorker, "_on_evidence", _need_handle),
    _mutant("closed at the home server only", Relays, "_on_close", _close_at_home_only),
    _mutant("an offer worked on twice", OfferListener, "_is_repeated", _work_twice),
    _mutant("no watcher after a fallback", Conn, "_direct_packets", _no_watcher_after_fallback),
    _mutant("reuse not provisional", RelayWorker, "_on_close_done", _reuse_for_good),
    _mutant("backoff reset on every disconnect", Guard, "_on_path_lost", _forget_backoff),
)


def problems_of(scenario: Scenario, seed: int) -> tuple[str, ...]:
    """Return what is wrong with a run."""
    return judge(perform(scenario, seed), seed, scenario.name).problems


def hunt(mutant: Mutant, seeds: int = SEEDS) -> tuple[int, str] | None:
    """Return the first seed that notices the mutant, and what it noticed."""
    for seed in range(seeds):
        scenario = draw(seed)
        with mutant.applied():
            problems = problems_of(scenario, seed)
        if problems and not problems_of(scenario, seed):
            return seed, problems[0]
    return None


def teardowns() -> int:
    """Return how often the mutant that always closes does so in an hour of a healthy network of three (S22)."""
    closer = next(mutant for mutant in MUTANTS if mutant.name == "always close")
    with closer.applied():
        run = perform(NAMED["S22 relay"], 0)
    assert not isinstance(run, str), run
    return sum(isinstance(record.handled.message, CloseOnLink) for record in run.sim.log)


def _hunt_named(name: str, seeds: int) -> tuple[int, str] | None:
    return hunt(next(mutant for mutant in MUTANTS if mutant.name == name), seeds)


def main() -> int:
    """Hunt every mutant, or those named."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many to look through at the most")
    parser.add_argument("names", nargs="*", help="mutants; all without")
    asked = parser.parse_args()
    names = [mutant.name for mutant in MUTANTS if not asked.names or mutant.name in asked.names]
    survived = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for name, found in zip(names, pool.map(partial(_hunt_named, seeds=asked.seeds), names), strict=True):
            survived += found is None
            told = f"SURVIVED {asked.seeds} seeds" if found is None else f"seed {found[0]:3}: {found[1]}"
            print(f"{name:50} {told}", flush=True)
    if "always close" in names:
        closed = teardowns()
        survived += closed < TEARDOWNS
        print(f"{'always close':50} {closed} teardowns in an hour of S22")
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main())

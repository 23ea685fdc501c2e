"""A run as a sequence diagram in plain text: a lane for each agent, what befell it between the lines.

    at  node0                                                     node1
30.000  ######## DirectCut(at_s=30, for_s=120, sender='node0', receiver='node1')
31.141  wg_watcher > conn  path_doubtful direct
"""

from collections.abc import Iterator

import msgspec

from config.keys import PublicKey
from tests.simulator.simulation import Note, Record, Simulation

LANE = 62  # characters
SILENT = frozenset(
    {
        "peer_status", "relays_status", "signal_status", "known_peers", "ping", "pong", "echo_answered", "probe_path",
        "local_candidate_found", "add_remote_candidate", "post_candidate", "candidate_received", "path_silent",
        "set_ice_in_use", "watch_path", "relay_turn", "ice_turn", "ice_turn_done", "remote_known", "prove_now",
    }
)  # fmt: skip
"""Types of mail that tell little of what went wrong."""
SHOWN = ("kind", "path", "generation", "session", "outcome", "reason", "url", "cause", "link")


def diagram(sim: Simulation, since: float = 0.0, most: int = 400) -> list[str]:
    """Return the lines of what was handled from then on, counted from the start of the run; `most` of them."""
    begun = sim.log[0].handled.at if sim.log else sim.now
    names = {agent.key: agent.name for agent in sim.agents}
    lanes = {agent.name: number for number, agent in enumerate(sim.agents)}
    lines = [f"{'at':>9}  " + "".join(agent.name.ljust(LANE) for agent in sim.agents).rstrip()]
    for at, text, lane in _told(sim, names):
        if at - begun >= since:
            place = "" if lane is None else " " * (LANE * lanes[lane])
            lines.append(f"{at - begun:9.3f}  {place}{text}")
        if len(lines) > most:
            lines.append(f"{'':9}  ... and more")
            break
    return lines


def _told(sim: Simulation, names: dict[PublicKey, str]) -> Iterator[tuple[float, str, str | None]]:
    both: list[tuple[float, int, Record | Note]] = [(note.at, 0, note) for note in sim.notes]
    both += [(record.handled.at, 1, record) for record in sim.log]
    for at, _, what in sorted(both, key=lambda each: each[:2]):
        if isinstance(what, Note):
            yield at, f"######## {what.node} {what.what}".replace("  ", " "), None
        elif (text := _text(what, names)) is not None:
            yield at, text, what.node


def _text(record: Record, names: dict[PublicKey, str]) -> str | None:
    message = record.handled.message
    tag = str(message.__struct_config__.tag)
    if tag in SILENT or tag.endswith("_due"):
        return None
    receiver, sender = _short(record.handled.actor, names), _short(record.handled.sender, names)
    peer = getattr(message, "peer", None)
    about = f" {names.get(peer, '')}" if peer is not None and len(names) > 2 else ""
    return f"{sender or 'outside'} > {receiver}  {tag}{about}{_fields(message)}"[: LANE - 1]


def _short(address: str, names: dict[PublicKey, str]) -> str:
    actor = address.partition("@")[0]
    return actor.rpartition("/")[2] if actor.startswith("peer/") else actor


def _fields(message: msgspec.Struct) -> str:
    found = []
    for name in SHOWN:
        value = getattr(message, name, None)
        if value not in (None, "", 0):
            found.append(value.hex() if isinstance(value, bytes) else str(getattr(value, "kind", value)))
    return f" {' '.join(found)}" if found else ""

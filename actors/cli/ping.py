"""`homing ping`: round trips to a peer inside the WireGuard session, and which path carried each.

An echo is a WireGuard packet that holds no IP packet: what answers is the peer's homing, on the path that it came on.
TUNNELS is asked for it as the WG watcher asks (ProbePath), and the answer is seen where the watcher hears of it; the
watcher itself, whose token it is not, takes no notice.  A peer that is not homing answers handshakes alone, so there
it is their round trip that is measured (InitiateHandshake), as seldom as WireGuard allows.
"""

import secrets
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import msgspec
import typer

from actors.addresses import TUNNELS
from actors.cli.errors import FAILED, CommandFailed, as_line
from actors.cli.mail import CommandMail
from actors.cli.peers import one_peer, report_of
from actors.cli.report import PeerReport, Report
from actors.cli.running import RUN_DIRECTORY, Agent, NodeOption, RunDirectoryOption, boot_now, find_agent, running_pid
from actors.cli.words import duration, seconds_of
from actors.messages.packet import InitiateHandshake, ProbePath
from actors.trace.record import Record, fields_of
from config.keys import PublicKey
from config.text import one_line
from wg.constants import REJECT_AFTER_TIME, REKEY_TIMEOUT
from wg.paths import PathKind
from wg.reports import EchoAnswered, HandshakeCompleted

ANSWER_S = 2.0  # after which an echo counts as lost
HANDSHAKE_S = REKEY_TIMEOUT + 1.0  # an initiation may have been sent just before, and is repeated then
LEAST_INTERVAL_S, MAX_COUNT = 0.1, 10_000
HANDSHAKES_S = REKEY_TIMEOUT + 0.1  # from one handshake to the next
TOKEN_BITS = 63


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """One round trip, or what was to be one."""

    number: int
    path: PathKind | None  # that carried it
    endpoint: str  # of the path: ip:port of the peer, or URL of the relay server
    rtt_s: float | None  # None: no answer
    reason: str = ""  # why there was none


class Pinged(msgspec.Struct, frozen=True, kw_only=True):
    """What came of all of them."""

    peer: str
    public_key: PublicKey
    by: Literal["echo", "handshake"]  # what made the round trips
    sent: int
    answered: int
    rtt_min_s: float | None
    rtt_median_s: float | None
    rtt_max_s: float | None
    echoes: tuple[Echo, ...]


def run(
    *,
    peer: Annotated[str, typer.Argument(metavar="PEER", help="Name, or the beginning of its key.")],
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, max=MAX_COUNT, help="How many.")] = 10,
    interval: Annotated[str, typer.Option("--interval", metavar="TIME", help="From one to the next.")] = "1s",
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> int:
    """Send echoes to a peer through the tunnel, and say which path carried each.

    What is not answered within 2 s is lost.  A peer that does not run homing answers no echo; there each round trip is
    that of a WireGuard handshake, of which there is one in 5 s at the most.  Exit code 1 when nothing was answered.

    \b
    Example: homing ping laptop
    Example: homing ping laptop --count 100 --interval 200ms --json
    """
    interval_s = seconds_of("--interval", interval, LEAST_INTERVAL_S)
    agent = find_agent(run_directory, node)
    running_pid(agent)
    report = report_of(agent)
    known = one_peer(report.peers, peer)
    _check(known)
    for one in report.processes:
        if one.silent and one.process != "supervisor":
            print(as_line(f"{one.process} is silent: answers may not be seen; see: homing status"), file=sys.stderr)
    if known.ours is False:
        interval_s = max(interval_s, HANDSHAKES_S)
        told = (
            f"{known.name} does not run homing: these are round trips of WireGuard handshakes, one in {interval_s:g} s"
        )
        print(as_line(told), file=sys.stderr)
    with CommandMail(agent, "ping", watch=f"peer/{known.public_key}/wg_watcher") as mail:
        pinger = Pinger(agent, mail, known)
        pinger.begin(report)
        echoes: list[Echo] = []
        try:
            while len(echoes) < count:
                began_at = time.monotonic()
                echo = pinger.echo(len(echoes) + 1)
                echoes.append(echo)
                if not json_output:
                    print(line(known.name, echo), flush=True)
                if len(echoes) < count:
                    time.sleep(max(began_at + interval_s - time.monotonic(), 0.0))
        except KeyboardInterrupt:
            pass  # what there is so far is told
    pinged = summary(known, echoes)
    print(msgspec.json.encode(pinged).decode() if json_output else last_line(pinged))
    return 0 if pinged.answered else FAILED


_Asked = tuple[Callable[[Record], bool], float]
"""Which record is the answer, and how long to wait for it."""


class Pinger:
    """Sends echoes to one peer, or handshake initiations to one that does not run homing."""

    def __init__(self, agent: Agent, mail: CommandMail, peer: PeerReport) -> None:
        self._agent, self._mail, self._peer = agent, mail, peer.public_key
        self._foreign = peer.ours is False

    def begin(self, report: Report) -> None:
        """See that there is a WireGuard session, or have one made.  Raises CommandFailed: there is none."""
        known = self._of(report)
        if known is None or known.path is None or has_session(known) or self._foreign:
            return
        self._ask(known.path)  # without a session this brings a handshake
        heard = self._mail.heard(_is_handshake, wait_s=HANDSHAKE_S, until=lambda _: True)
        if not heard:
            raise CommandFailed(
                f"no WireGuard session with {known.name}: a handshake on {_way(known.path, known.endpoint)}"
                f" was not answered within {HANDSHAKE_S:g} s; see: homing why {known.name}"
            )

    def echo(self, number: int) -> Echo:
        """Send one echo on the path in use, and wait for its answer."""
        known = self._of(report_of(self._agent))
        if known is None or known.path is None:
            return _lost(
                number, None, "", f"no path: {known.reason}" if known is not None and known.reason else "no path"
            )
        try:
            is_answer, wait_s = self._shake() if self._foreign else self._knock(known.path)
        except CommandFailed as error:  # a process starts anew
            return _lost(number, known.path, known.endpoint, error.lines[0])
        answers = self._mail.heard(is_answer, wait_s=wait_s, until=lambda _: True)
        if not answers:
            can = self._foreign or has_session(known)
            return _lost(
                number, known.path, known.endpoint, f"no answer within {wait_s:g} s" if can else "no WireGuard session"
            )
        answer = msgspec.msgpack.decode(answers[0].body, type=EchoAnswered | HandshakeCompleted)
        endpoint = known.endpoint if answer.path == known.path else ""  # else it has moved meanwhile
        return Echo(number=number, path=answer.path, endpoint=endpoint, rtt_s=answer.rtt_s)

    def _knock(self, path: PathKind) -> _Asked:
        token = self._ask(path)
        return lambda record: record.tag == "echo_answered" and fields_of(record).get("token") == token, ANSWER_S

    def _shake(self) -> _Asked:
        """Have a handshake made; where one has just been, it follows as soon as REKEY_TIMEOUT allows."""
        asked_at = boot_now()
        self._mail.post(TUNNELS, InitiateHandshake(peer=self._peer))

        def is_answer(record: Record) -> bool:
            ours = _is_handshake(record) and fields_of(record).get("role") == "initiator"
            return ours and record.at >= asked_at

        return is_answer, HANDSHAKE_S

    def _ask(self, path: PathKind) -> int:
        token = secrets.randbits(TOKEN_BITS)
        self._mail.post(TUNNELS, ProbePath(peer=self._peer, path=path, token=token))
        return token

    def _of(self, report: Report) -> PeerReport | None:
        return next((one for one in report.peers if one.public_key == self._peer), None)


def has_session(peer: PeerReport) -> bool:
    """Whether there are keys that an echo can go by."""
    return peer.handshake_age_s is not None and peer.handshake_age_s < REJECT_AFTER_TIME


def line(name: str, echo: Echo) -> str:
    """Return the line for one echo."""
    way = f" on {_way(echo.path, echo.endpoint)}" if echo.path is not None else ""
    if echo.rtt_s is None:
        return one_line(f"{echo.number}: lost{way}: {echo.reason}")
    return one_line(f"{echo.number}: answer from {name}{way} after {duration(echo.rtt_s)}")


def summary(peer: PeerReport, echoes: Sequence[Echo]) -> Pinged:
    """Return what came of all echoes."""
    times = sorted(echo.rtt_s for echo in echoes if echo.rtt_s is not None)
    return Pinged(
        peer=peer.name,
        public_key=peer.public_key,
        by="handshake" if peer.ours is False else "echo",
        sent=len(echoes),
        answered=len(times),
        rtt_min_s=times[0] if times else None,
        rtt_median_s=statistics.median(times) if times else None,
        rtt_max_s=times[-1] if times else None,
        echoes=tuple(echoes),
    )


def last_line(pinged: Pinged) -> str:
    """Return the line at the end."""
    ways = Counter(_way(echo.path, echo.endpoint) for echo in pinged.echoes if echo.rtt_s is not None and echo.path)
    lost = pinged.sent - pinged.answered
    said = f"{pinged.sent} sent, {pinged.answered} answered, {lost} lost"
    if pinged.sent:
        said += f" ({100 * lost / pinged.sent:.0f} %)"
    if pinged.rtt_min_s is not None and pinged.rtt_median_s is not None and pinged.rtt_max_s is not None:
        times = (duration(one) for one in (pinged.rtt_min_s, pinged.rtt_median_s, pinged.rtt_max_s))
        said += f"; least {next(times)}, median {next(times)}, most {next(times)}"
    return one_line(f"{said}; {', '.join(f'{count} by {way}' for way, count in ways.items())}" if ways else said)


def _check(peer: PeerReport) -> None:
    """Refuse what cannot be done.  Raises CommandFailed."""
    if peer.path is None:
        said = f": {peer.reason}" if peer.reason else ""
        raise CommandFailed(f"there is no path to {peer.name}{said}; see: homing why {peer.name}")


def _lost(number: int, path: PathKind | None, endpoint: str, reason: str) -> Echo:
    return Echo(number=number, path=path, endpoint=endpoint, rtt_s=None, reason=reason)


def _way(path: PathKind | None, endpoint: str) -> str:
    """Return a path in words: "direct 192.0.2.7:51820", "relay rels://relay.example.com"."""
    kind = "relay" if path == "relayed" else "direct"
    return f"{kind} {endpoint}" if endpoint else kind


def _is_handshake(record: Record) -> bool:
    return record.tag == "handshake_completed"

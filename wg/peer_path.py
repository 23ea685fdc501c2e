"""One of a peer's two paths: where it leads, what was heard on it, and since when it is silent."""

from ipaddress import ip_address

from config.keys import PublicKey
from wg.datagrams import DirectVia, Endpoint, RelayedVia, Via
from wg.paths import DirectPath, Path, PathKind
from wg.reports import PathHeard, PathSilent

SILENCE_S = 1.0  # from something sent to nothing heard
HEARD_INTERVAL_S = 1.0  # between two reports that a path was heard


class PeerPath:
    """The direct or the relayed path of a peer, whether packets use it or not."""

    def __init__(self, peer: PublicKey, kind: PathKind) -> None:
        self.kind = kind
        self.via: Via | None = None  # where to send; None: not known
        self.heard_at: float | None = None  # the last packet that was credited; None: never
        self._peer = peer
        self._told: Path | None = None  # what the control side said last; roaming may have changed `via` since
        self._reported: dict[int, float] = {}  # incarnation -> its last PathHeard, for HEARD_INTERVAL_S
        self._sent_at: float | None = None  # the oldest packet that nothing was heard after
        self._silent = False  # PathSilent was told, and nothing heard since

    def lead_to(self, path: Path) -> bool:
        """Use what the control side says.  Returns whether this path leads elsewhere now.

        Said once more it changes nothing, for the peer may have roamed since; nor does where it has roamed to.
        """
        known = path == self._told or self._leads_to(path)
        self._told = path
        if known:
            return False
        if isinstance(path, DirectPath):
            self.via = _direct_via(path)
        else:
            self.via = RelayedVia(self._peer, path.link, path.generation)
        self.expect_nothing()
        return True

    def rest(self) -> None:
        """Carry no packets until the control side says anew where to; what comes this way is answered still."""
        self._told = None
        self.expect_nothing()

    def roam(self, via: DirectVia) -> None:
        """Send where the peer was last heard from."""
        self.via = via

    def sent(self, now: float) -> None:
        """Note that packets went out on this path."""
        if self._sent_at is None:
            self._sent_at = now

    def came_by(self, link: int, generation: int) -> RelayedVia:
        """Return what something came by: this relayed connection, if it came by its link.

        There the peer counts before a connection is open too (generation 0): a relay server may call one absent who is
        there.  What comes by another link says nothing of this one: the peer has moved to another relay server.
        """
        if generation == 0 and isinstance(self.via, RelayedVia) and link == self.via.link:
            return self.via
        return RelayedVia(self._peer, link, generation)

    def heard(self, via: Via, now: float) -> PathHeard | None:
        """Credit the path with a packet that came by this incarnation of it; the report is owed, unless None."""
        self.heard_at = now
        was_silent = False
        if self._is_current(via):
            was_silent = self._silent
            self.expect_nothing()
        reported_at = self._reported.get(via.generation)
        if reported_at is not None and now - reported_at < HEARD_INTERVAL_S and not was_silent:
            return None
        self._reported = {of: at for of, at in self._reported.items() if now - at < HEARD_INTERVAL_S}
        self._reported[via.generation] = now
        return PathHeard(peer=self._peer, path=self.kind, heard_at=now, generation=via.generation)

    def expect_nothing(self) -> None:
        """Forget what was sent: something was heard, or the path is a new one."""
        self._sent_at, self._silent = None, False

    def silent_at(self) -> float | None:
        """Return when silence must be told, None if not to be expected."""
        return None if self._sent_at is None or self._silent else self._sent_at + SILENCE_S

    def silence(self, now: float) -> PathSilent | None:
        """Return the report that is due.

        From now on the kernel chooses the address to send from: the one that was asked may lie on an interface that
        leads nowhere by now.  The next datagram heard names it anew.
        """
        due_at = self.silent_at()
        if due_at is None or now < due_at or self._sent_at is None or self.via is None:
            return None
        self._silent = True
        if isinstance(self.via, DirectVia):
            self.via = DirectVia(self.via.endpoint, None)
        return PathSilent(peer=self._peer, path=self.kind, sent_at=self._sent_at, generation=self.via.generation)

    def current(self) -> Path | None:
        """Return the path as the control side would name it: roamed endpoint included."""
        if isinstance(self.via, DirectVia):
            return DirectPath(ip=self.via.endpoint.ip, port=self.via.endpoint.port)
        return self._told

    def _leads_to(self, path: Path) -> bool:
        """Return whether we send there already, and from our address that the path names, if it names one."""
        if isinstance(path, DirectPath) and isinstance(self.via, DirectVia):
            there = (self.via.endpoint.ip, self.via.endpoint.port) == (path.ip, path.port)
            return there and (path.local is None or _direct_via(path).local == self.via.local)
        return path == self.current()

    def _is_current(self, via: Via) -> bool:
        """Return whether what came by `via` came the way that we send now; a direct path roams."""
        return via == self.via if isinstance(via, RelayedVia) else self.via is not None


def _direct_via(path: DirectPath) -> DirectVia:
    return DirectVia(Endpoint(path.ip, path.port), None if path.local is None else ip_address(path.local).packed)

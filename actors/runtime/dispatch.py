"""Mail on its way out: one link for each destination process, the process itself included."""

from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from actors.effects import Address
from actors.messages.envelope import BODY, Envelope, FramePacker
from actors.messages.overflow import coalescing_key, rule_for
from actors.runtime.links import Link
from actors.runtime.shell import Story
from actors.runtime.timers import Timer
from actors.trace.record import FLAG_TIMER, Kind
from transport.drivers.zmq import FRAMES, LINGER_MS, Sender, ipc, mail_name

if TYPE_CHECKING:
    from actors.runtime.post_office import PostOffice


class Dispatch:
    """Sends a process's mail."""

    def __init__(self, office: "PostOffice", context: zmq.Context[zmq.Socket[bytes]], inproc: str) -> None:
        self.links: dict[str, Link] = {}
        self._office, self._context = office, context
        self._encode = msgspec.msgpack.Encoder().encode
        self._own = self._open(office.process, office.incarnation, inproc)

    def connect(self, process: str, incarnation: int) -> None:
        """Send mail for a process to this incarnation from now on, unless the link goes to it, or a newer, already."""
        old = self.links.get(process)
        if old is not None and old.incarnation >= incarnation:
            return
        self.disconnect(process)
        self._open(process, incarnation, ipc(self._office.run_dir / mail_name(process, incarnation)))

    def disconnect(self, process: str) -> None:
        """Close the link to a process; what it has not taken is discarded and traced."""
        link = self.links.pop(process, None)
        if link is None:
            return
        office = self._office
        if office.driver is not None:
            office.driver.unwatch_link(link)
        reason = f"meant for incarnation {link.incarnation} of {process}, which is gone"
        for envelope in link.discard():
            office.ledger.discarded("stale", envelope, office.process, reason)

    def send(self, sender: str, to: Address[Any], message: msgspec.Struct, story: Story, flags: int = 0) -> None:
        """Put mail on its way."""
        office = self._office
        number = office.next_id
        office.next_id = number + 1
        now, cause, trace = story
        actor, body = to.actor, self._encode(message)
        link = self.links.get(to.process)
        if link is None:
            envelope = (actor, sender, 0, number, cause, trace, now, flags, body)
            office.ledger.dead("no link", (envelope, message, office.process), f"no link to process {to.process}")
        elif len(link.outbox) < link.soft:
            link.outbox.append((actor, sender, link.number(sender, actor), number, cause, trace, now, flags, body))
        else:
            self._send_over(link, (actor, sender, 0, number, cause, trace, now, flags, body), message)

    def send_timer(self, timer: Timer, now: float) -> None:
        """Put a timer's mail on its way to its owner; it has the id that the timer was set with."""
        link, owner, message = self._own, timer.owner, timer.message
        number, cause, trace, body = timer.id, timer.cause, timer.trace, self._encode(message)
        if len(link.outbox) < link.soft:
            seq = link.number(owner, owner)
            link.outbox.append((owner, owner, seq, number, cause, trace, now, FLAG_TIMER, body))
        else:
            self._send_over(link, (owner, owner, 0, number, cause, trace, now, FLAG_TIMER, body), message)

    def flush(self) -> None:
        """Hand over to ZeroMQ what it takes now."""
        for link in self.links.values():
            if link.outbox or link.waiting:
                link.flush()

    @property
    def waiting(self) -> bool:
        """Whether any mail has not left yet."""
        return any(link.waiting for link in self.links.values())

    def forget(self, actor: str) -> None:
        """Forget the numbering of an actor that has ended."""
        for link in self.links.values():
            link.forget(actor)

    def close(self) -> None:
        """Close all links; what ZeroMQ has taken may still leave."""
        for link in self.links.values():
            link.sender.close(LINGER_MS)

    def _open(self, process: str, incarnation: int, endpoint: str) -> Link:
        office = self._office
        packer = FramePacker(office.process, office.incarnation, incarnation)
        link = self.links[process] = Link(Sender(self._context, endpoint, FRAMES), packer, process, incarnation)
        if office.driver is not None:
            office.driver.watch_link(link)
        return link

    def _send_over(self, link: Link, envelope: Envelope, message: msgspec.Struct) -> None:
        """Put mail on a link that is over its bound, as far as the rules allow."""
        to, sender, _, number, cause, trace, now, flags, body = envelope
        process, ledger = self._office.process, self._office.ledger
        action = rule_for(message).action
        if action in ("drop", "refuse"):
            taken: Kind = "dropped" if action == "drop" else "refused"
            ledger.overflowed(taken, (envelope, message, process))
            return
        seq = link.number(sender, to)
        if link.full == "hard":  # refused, and missed where it does not arrive
            ledger.overflowed("refused", (envelope, message, process))
            return
        envelope = (to, sender, seq, number, cause, trace, now, flags, body)
        key = coalescing_key(message)
        if key is None:
            link.outbox.append(envelope)
        elif (older := link.put_newest((to, *key), envelope)) is not None:
            replaced = msgspec.msgpack.decode(older[BODY], type=type(message))
            ledger.overflowed("coalesced", (older, replaced, process))

"""What a post office does about actors that failed (the policy is in supervision.py)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loguru import logger

from actors.effects import Address, Machine
from actors.messages.envelope import FLAGS, ID
from actors.messages.overflow import tag_of
from actors.messages.process import PeerFailed
from actors.runtime.mailbox import Entry
from actors.runtime.shell import Shell
from actors.runtime.supervision import ActorsFailing, Poison, Supervision, describe, origin_of
from actors.trace.record import FLAG_ASK
from config.keys import PublicKey

if TYPE_CHECKING:
    from actors.runtime.post_office import PostOffice

GROUP_PREFIX = "peer/"

Remake = Callable[[], Machine]


class Wards:
    """The actors of a process as those who may fail."""

    def __init__(self, office: "PostOffice", policy: Supervision, failures_to: Address[Any]) -> None:
        self.policy = policy
        self.failures = 0
        self.fatal: ActorsFailing | None = None
        self._office, self._failures_to = office, failures_to
        self._groups: dict[str, set[str]] = {}
        self._remakes: dict[str, Remake] = {}
        self._resting: list[tuple[float, str]] = []  # when it starts again, actor

    def watch(self, shell: Shell, remake: Remake | None) -> None:
        """Take an actor into care."""
        if shell.group is not None:
            self._groups.setdefault(shell.group, set()).add(shell.name)
        if remake is not None:
            self._remakes[shell.name] = remake

    def forget(self, shell: Shell) -> None:
        """Forget an actor that has ended."""
        self._remakes.pop(shell.name, None)
        self.policy.forget(shell.name)
        self._resting = [(at, actor) for at, actor in self._resting if actor != shell.name]
        if shell.group is not None and (members := self._groups.get(shell.group)) is not None:
            members.discard(shell.name)
            if not members:
                del self._groups[shell.group]

    def members(self, group: str) -> list[str]:
        """Return the actors of this group, by name."""
        return sorted(self._groups.get(group, ()))

    def failed(self, shell: Shell, entry: Entry | None, error: Exception) -> None:
        """An actor raised, on this message or (None) at its start."""
        self.failures += 1
        text = describe(error)
        tag = "its start" if entry is None else tag_of(entry[1])
        logger.error("{} failed on {}: {} ({})", shell.name, tag, text, origin_of(error))
        if entry is not None:
            self._set_aside(shell, entry, error)
        if isinstance(error, MemoryError):
            self.give_up(ActorsFailing(f"{shell.name}: {text}"))
        elif shell.group is not None:
            self._silence(shell.group)
            peer = PublicKey(shell.group.removeprefix(GROUP_PREFIX))
            self._office.post(self._failures_to, PeerFailed(peer=peer, actor=shell.name, error=text))
        elif shell.name not in self._remakes:
            self.give_up(ActorsFailing(f"{shell.name} failed and cannot be made anew here: {text}"))
        else:
            self._rest(shell, text)

    def give_up(self, reason: ActorsFailing) -> None:
        """Have the process end for this reason; the first one counts."""
        if self.fatal is None:
            self.fatal = reason

    def start_group(self, group: str, machines: dict[str, Machine]) -> None:
        """Run these machines as this group's actors: those that exist go on in place, mail and timers forgotten."""
        office = self._office
        for name in set(self.members(group)) - machines.keys():
            office.remove(name)
        for name, machine in machines.items():
            shell = office.shells.get(name)
            if shell is None:
                office.add(name, machine, group=group, begin=False)
                continue
            office.timers.forget(name)
            self._bury(shell, "group started anew")
            shell.renew(machine)
        for name in machines:
            self.begin(office.shells[name])

    def begin(self, shell: Shell) -> None:
        """Let a machine say what it wants first."""
        try:
            shell.begin(self._office.clock())
        except Exception as error:  # whatever it did wrong, the others go on
            self.failed(shell, None, error)

    def revive(self, now: float) -> bool:
        """Start those actors again that have rested enough; return whether there were any."""
        due = [actor for at, actor in self._resting if at <= now]
        if not due:
            return False
        self._resting = [(at, actor) for at, actor in self._resting if at > now]
        for actor in due:
            shell = self._office.shells[actor]
            try:
                shell.renew(self._remakes[actor]())
            except Exception as error:  # it cannot even be made: the same as if it had failed at once
                self.failed(shell, None, error)
                continue
            self.begin(shell)
            self._office.enqueue(shell)
        return True

    def next_at(self) -> float | None:
        """Return when the next actor starts again."""
        return min((at for at, _ in self._resting), default=None)

    def _rest(self, shell: Shell, text: str) -> None:
        now = self._office.clock()
        self._office.timers.forget(shell.name)
        shell.resting = True
        try:
            wait = self.policy.wait_after_failure(shell.name, now, text)
        except ActorsFailing as reason:
            self.give_up(reason)
            return
        self._resting.append((now + wait, shell.name))

    def _silence(self, group: str) -> None:
        for name in self.members(group):
            shell = self._office.shells[name]
            shell.deaf = True
            self._office.timers.forget(name)
            self._bury(shell, "group failed")

    def _bury(self, shell: Shell, reason: str) -> None:
        for entry in shell.mailbox.clear():
            self._office.ledger.dead(reason, entry)

    def _set_aside(self, shell: Shell, entry: Entry, error: Exception) -> None:
        envelope, message, _ = entry
        office, now, text = self._office, self._office.clock(), describe(error)
        redacted = office.tap.redacted(entry)
        self.policy.quarantine.append(Poison(now, shell.name, tag_of(message), redacted, text, origin_of(error)))
        state = type(shell.machine.state).__name__
        office.tap.lost(now, "failed", entry, text, (shell.state_name, state, 0, 0, 0.0, len(shell.mailbox)))
        if envelope[FLAGS] & FLAG_ASK:
            office.ledger.answer(envelope[ID], error)

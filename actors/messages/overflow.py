"""What happens to mail when a mailbox (or the link to it) is over its bound: one rule for every message type.

    keep      it is delivered, always: evidence, rotations, results of opening and closing, lifecycle, requests that
              something waits for.  Too much of it slows the sender down (actors/runtime/mailbox.py); what cannot even
              wait there is refused, which shows as a gap and is answered by a resync.  Never merged, never dropped.
    coalesce  the newest of its kind says all: the older one is taken out, the newest waits at its own place, so that
              nothing moves ahead of evidence.  Same kind: same type, and same values of `by`.
    drop      a hint or a repeat; the next one comes anyway.
    refuse    from outside, and its sender tries again: a dead letter.

Below the bound every rule is the same: mail is delivered.  What a rule took away is counted and traced.
"""

from typing import Literal

import msgspec

from actors.messages import node, packet, peer, process, status
from transport.signal import messages as signal
from wg import reports

MessageType = type[msgspec.Struct]


class Rule(msgspec.Struct, frozen=True):
    """What to do with one message type over the bound."""

    action: Literal["keep", "coalesce", "drop", "refuse"]
    by: tuple[str, ...] = ()  # of coalesce: the fields that tell one subject from another


KEEP = Rule("keep")
DROP = Rule("drop")
REFUSE = Rule("refuse")
NEWEST = Rule("coalesce")
NEWEST_OF_PEER = Rule("coalesce", ("peer",))
NEWEST_OF_PATH = Rule("coalesce", ("peer", "path", "generation"))

RULES: dict[MessageType, Rule] = {
    # lifecycle
    process.StartPeer: KEEP,
    process.StopPeer: KEEP,
    process.ResetPeer: KEEP,
    process.Ping: KEEP,
    process.Pong: KEEP,
    process.ProcessReady: KEEP,
    process.ProcessRestarted: KEEP,
    process.Drain: KEEP,
    process.Drained: KEEP,
    process.PeerFailed: KEEP,
    process.SaveSnapshot: NEWEST,
    process.PeersConfigured: NEWEST,
    process.GapFound: KEEP,
    process.ResyncDue: KEEP,
    process.DrainDue: KEEP,
    process.StopActor: KEEP,
    process.StartProcess: KEEP,
    process.EndProcess: KEEP,
    process.DumpProcess: KEEP,
    process.KillProcess: KEEP,
    process.InspectProcess: KEEP,
    process.ProcessInspected: KEEP,
    process.ProcessExited: KEEP,
    process.Announce: KEEP,
    process.AgentStopped: KEEP,
    process.ShutdownWanted: KEEP,
    process.RebindWanted: NEWEST,
    process.RebindSockets: KEEP,
    process.AgentDue: KEEP,
    # from the signal server, and to it
    signal.OfferReceived: KEEP,  # each is owed an answer; the listener keeps only the latest waiting (recovery R1)
    signal.AnswerReceived: KEEP,
    signal.CandidateReceived: REFUSE,
    signal.GoIdleReceived: NEWEST_OF_PEER,
    signal.PostDescription: KEEP,
    signal.PostCandidate: REFUSE,
    node.SignalConnected: KEEP,
    node.SignalDisconnected: KEEP,
    node.SignalPostFailed: KEEP,
    node.SignalLinkWanted: NEWEST,
    node.SignalLinkDoubted: NEWEST,
    node.KnownPeers: NEWEST,
    node.OutsideEvent: Rule("coalesce", ("kind",)),
    # relays
    node.OpenRelayed: KEEP,
    node.CloseRelayed: KEEP,
    node.ChangeHome: NEWEST,
    node.KeyUsedElsewhere: NEWEST,
    node.LinkRetryDue: KEEP,
    packet.OpenLink: KEEP,
    packet.CloseLink: KEEP,
    packet.OpenOnLink: KEEP,
    packet.CloseOnLink: KEEP,
    packet.RelayLinksSnapshotWanted: NEWEST,
    packet.ProveLinksNow: NEWEST,
    packet.LinkOpened: KEEP,
    packet.LinkClosed: KEEP,
    packet.RelayedOpened: KEEP,
    packet.RelayedFailed: KEEP,
    packet.RelayedClosed: KEEP,
    packet.RelayedCloseDone: KEEP,
    packet.RelayLinksSnapshot: NEWEST,
    # ICE agents
    packet.OpenIceAgent: KEEP,
    packet.AddRemoteCandidate: REFUSE,
    packet.CloseIceAgent: KEEP,
    packet.SetIceInUse: NEWEST_OF_PEER,
    packet.ProveIceNow: NEWEST,
    packet.IceAgentsSnapshotWanted: NEWEST,
    packet.LocalCandidateFound: KEEP,
    packet.IcePairProven: KEEP,
    packet.IcePairDoubtful: KEEP,
    packet.IceAgentEnded: KEEP,
    packet.IceAgentClosed: KEEP,
    packet.IceAgentsSnapshot: NEWEST,
    # tunnels
    packet.ConfigurePeer: KEEP,
    packet.RemovePeer: KEEP,
    packet.SetPath: KEEP,
    packet.ProbePath: KEEP,
    packet.InitiateHandshake: NEWEST_OF_PEER,
    packet.RenewHandshake: NEWEST_OF_PEER,
    packet.KeepRecovery: NEWEST_OF_PEER,
    packet.TunnelsSnapshotWanted: NEWEST,
    packet.TunnelsSnapshot: NEWEST,
    reports.HandshakeCompleted: KEEP,
    reports.PathHeard: NEWEST_OF_PATH,
    reports.PathSilent: KEEP,
    reports.EchoAnswered: KEEP,
    reports.RekeyUnanswered: KEEP,
    reports.GivenUp: KEEP,
    reports.LocalTraffic: NEWEST_OF_PEER,
    # the peer's actors
    peer.SendOffer: NEWEST_OF_PEER,
    peer.RelayTurn: KEEP,
    peer.RelayTurnDone: KEEP,
    peer.IceTurn: KEEP,
    peer.IceTurnDone: KEEP,
    peer.RemoteKnown: NEWEST_OF_PEER,
    peer.RemoteIdle: NEWEST_OF_PEER,
    peer.LocalIceChanged: KEEP,
    peer.LocalRelayChanged: KEEP,
    peer.HomeRelayChanged: NEWEST,
    peer.RelayReady: KEEP,
    peer.RelayLost: KEEP,
    peer.IceReady: KEEP,
    peer.IceDoubtful: KEEP,
    peer.IceLost: KEEP,
    peer.WatchPath: KEEP,
    peer.TrafficHeard: DROP,
    peer.ProveNow: NEWEST_OF_PEER,
    peer.RelayEvidence: KEEP,
    peer.Distress: KEEP,
    peer.PathsHeard: NEWEST_OF_PEER,
    peer.PathProven: KEEP,
    peer.PathDoubtful: KEEP,
    peer.PathDead: KEEP,
    peer.PathReady: KEEP,
    peer.PathLost: KEEP,
    peer.PeerQuarantined: KEEP,
    peer.MeetElsewhere: KEEP,
    peer.OfferDue: KEEP,
    peer.WatchDue: KEEP,
    peer.OpenDue: KEEP,
    peer.StableDue: KEEP,
    peer.PathHindered: KEEP,
    peer.HoldDue: KEEP,
    peer.ReopenDue: KEEP,
    peer.UpgradeDue: KEEP,
    peer.IceDue: KEEP,
    peer.CandidatesDue: KEEP,
    peer.DirectDue: KEEP,
    # peers and status
    node.StartPeersDue: KEEP,
    node.TellEventsDue: KEEP,
    node.PeerStarted: KEEP,
    node.SearchWanted: NEWEST_OF_PEER,
    node.SearchGranted: NEWEST_OF_PEER,
    node.SearchesDue: KEEP,
    node.SnapshotDue: KEEP,
    node.PeerForgotten: KEEP,
    status.PeerStatus: NEWEST_OF_PEER,
    status.SignalStatus: NEWEST,
    status.RelaysStatus: NEWEST,
}


def rule_for(message: msgspec.Struct) -> Rule:
    """Return the rule for this message; what the table does not know is kept."""
    return RULES.get(type(message), KEEP)


def coalescing_key(message: msgspec.Struct) -> tuple[object, ...] | None:
    """Return what two messages have in common of which only the newer counts; None: each counts."""
    rule = rule_for(message)
    if rule.action != "coalesce":
        return None
    return (type(message), *(getattr(message, name) for name in rule.by))


def tag_of(message: MessageType | msgspec.Struct) -> str:
    """Return the tag by which this message type travels."""
    tag = message.__struct_config__.tag
    return str(tag) if tag is not None else ""


TYPE_OF: dict[str, MessageType] = {tag_of(message_type): message_type for message_type in RULES}
"""Every message type by its tag."""

"""Many agents with pairs: what an outside event costs all of them."""

from ipaddress import ip_address

from config.keys import PublicKey
from tests.kit.net import HOST_PORT
from tests.transport.ice.ends import credentials
from tests.transport.ice.test_agents import NOW, US_IP, agents
from transport.ice.agents import PROVEN_PER_S, IceAgents
from transport.ice.candidates import encode_candidate
from transport.ice.events import AgentId, AgentTold, LocalCandidateFound, PairSelected
from transport.ice.stun import BindingRequest, decode
from wg.datagrams import Endpoint

THEM_IP = "198.51.100.2"


def test_after_an_outside_event_many_pairs_are_checked_one_after_the_other_and_those_in_use_first() -> None:
    near = connected(40)
    near.set_in_use(PublicKey("peer39"), in_use=True, now=NOW + 0.9)
    near.datagrams_to_send()
    near.prove_now(NOW + 1.0)
    near.handle_timeout(NOW + 1.0)
    [first] = near.datagrams_to_send()
    request = decode(first.datagram, credentials("rem00039").pwd)
    assert isinstance(request, BindingRequest)
    assert request.username == "rem00039:own00039"
    near.handle_timeout(NOW + 1.0 + 19.5 / PROVEN_PER_S)
    assert len(near.datagrams_to_send()) == 19
    near.handle_timeout(NOW + 1.0 + 40 / PROVEN_PER_S)
    assert len(near.datagrams_to_send()) == 20


def connected(peers: int) -> IceAgents:
    """Return the agents of a node that have so many pairs with those of another by NOW + 0.9."""
    near, far = agents(US_IP), agents(THEM_IP, seed=2)
    for number in range(peers):
        ours, theirs = credentials(f"own{number:05}"), credentials(f"rem{number:05}")
        for made, local, remote in ((near, ours, theirs), (far, theirs, ours)):
            agent = AgentId(peer=PublicKey(f"peer{number}"), session=b"own01", remote_session=b"rem01")
            made.open(agent, local, remote, NOW, controlling=made is near, ours=True)
    now, paired = NOW, 0
    while now < NOW + 0.9:
        for made, other, address in ((near, far, US_IP), (far, near, THEM_IP)):
            made.handle_timeout(now)
            while (event := made.next_event()) is not None:
                match event:
                    case AgentTold(agent, LocalCandidateFound(candidate)):
                        other.add_remote_candidate(agent, encode_candidate(candidate), now)
                    case AgentTold(_, PairSelected()):
                        paired += 1
                    case _:
                        pass
            for out in made.datagrams_to_send():
                source = Endpoint(address, HOST_PORT)
                other.receive(out.datagram, source, ip_address(out.destination.ip).packed, now)
        now += 0.005
    assert paired == 2 * peers
    return near

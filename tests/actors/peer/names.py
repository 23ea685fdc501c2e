"""Who is who in the stories of one peer."""

from actors.addresses import peer_addresses
from config.keys import PublicKey, encode_key
from transport.signal.messages import Description, HomingFields, OfferReceived

BOB = PublicKey(encode_key(b"\x42" * 32))
TO = peer_addresses(BOB)
HOME = "rel://home.test:80"
THEIRS = "rel://theirs.test:80"
OTHER = "rel://other.test:80"


def description(
    url: str | None = THEIRS, *, ours: bool = True, offer_id: int = 1, generation: int = 0, acknowledges: int = 0
) -> Description:
    homing = HomingFields(offer_id=offer_id, acknowledges=acknowledges, relay_generation=generation)
    return Description(
        ice=None,
        session=None,
        listen_port=51820,
        version="0.1.0",
        relay_url=url,
        relay_ip=None,
        homing=homing if ours else None,
    )


def offer(number: int, url: str | None = THEIRS, *, ours: bool = True, generation: int = 0) -> OfferReceived:
    """The remote's offer with this number, which also names its nonce."""
    nonce = number.to_bytes(24, "big")
    body = description(url, ours=ours, offer_id=number, generation=generation)
    return OfferReceived(peer=BOB, description=body, nonce=nonce)

"""Bytes from anywhere, guided by coverage, for as long as you like: `make fuzz DECODER=relay SECONDS=600`.

The same decoders have hypothesis tests in the suite; this is for longer runs by hand and needs `pip install atheris`.
A decoder may answer or raise its own error; anything else is a bug, and the input that showed it is kept in a file
`crash-...` in the current directory.
"""

import argparse
import contextlib
import importlib
import sys
from collections.abc import Callable

from actors.messages.envelope import BadFrame, unpack_frame
from actors.trace.record import UnreadableRecord, decode_ring, decode_tapped
from config.keys import InvalidKey, public_key
from transport.errors import RemoteProtocolError
from transport.ice.attributes import BadStun
from transport.ice.candidates import BadCandidate, decode_candidate
from transport.ice.stun import decode as decode_stun
from transport.relay.codec import decode_from_client, decode_from_server
from transport.signal.body import decode_body, decode_envelope
from wg.errors import InvalidMessage
from wg.messages import decode as decode_wireguard


def _text(decode: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: decode(data.decode("utf-8", "surrogateescape"))


DECODERS: dict[str, tuple[tuple[Callable[[bytes], object], ...], type[Exception]]] = {
    "relay": ((decode_from_client, decode_from_server), RemoteProtocolError),
    "signal": ((decode_envelope, decode_body), RemoteProtocolError),
    "wireguard": ((decode_wireguard,), InvalidMessage),
    "stun": ((decode_stun,), BadStun),
    "candidate": ((_text(decode_candidate),), BadCandidate),
    "mail": ((unpack_frame,), BadFrame),
    "trace": ((decode_tapped, decode_ring), UnreadableRecord),
    "key": ((_text(public_key),), InvalidKey),
}


def main() -> None:
    """Fuzz one decoder until time is up or something breaks."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("decoder", choices=sorted(DECODERS))
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("fuzz: atheris is missing; install it with: .venv/bin/pip install atheris")
    functions, expected = DECODERS[options.decoder]

    def once(data: bytes) -> None:
        for function in functions:
            with contextlib.suppress(expected):
                function(data)

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={options.seconds}", "-max_len=4096"], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

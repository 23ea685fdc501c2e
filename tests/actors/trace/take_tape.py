"""Take the tape that test_replay.py replays anew: `python -m tests.actors.trace.take_tape` (root; half a minute).

Two agents behind NATs, from their start on: the direct path is cut, a packet process killed.  What the six machines of
one end were told and answered is kept, the rest left out.  Needed when a machine is meant to answer otherwise.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from actors.addresses import CONTROL_0
from actors.demo.pair import Pair
from actors.trace.record import Record, encode_record
from actors.trace.tape import Tape, encode_header, encode_note

TAPE = Path(__file__).parents[2] / "data" / "pair.tape"
BEFORE_S, AFTER_S = 5.0, 5.0  # a fault


def take(file: Path) -> None:
    """Record one end of a pair that has two faults."""
    with Pair("tape") as pair:
        pair.start_servers()
        pair.start_flows()
        pair.start_agents()
        time.sleep(1.0)  # its processes have their directory
        command = [sys.executable, "-m", "actors.cli", "trace", "record", str(file), *pair._of(pair.alice)]
        with subprocess.Popen(command) as recorder:
            try:
                pair.first_reply_at()
                time.sleep(BEFORE_S)
                pair.cut_direct_path()
                time.sleep(AFTER_S)
                os.kill(pair.child(pair.alice, "packet"), signal.SIGKILL)
                time.sleep(AFTER_S)
            finally:
                recorder.send_signal(signal.SIGINT)
                recorder.wait(30)


def shorten(file: Path) -> bytes:
    """Return the tape with what a peer's machines need and no more."""
    with file.open("rb") as opened:
        tape = Tape(opened)
        records = list(tape)
    heard = [record for record in records if record.process == CONTROL_0 and record.to.startswith("peer/")]
    wanted = {number for one in heard for number in range(one.sent_first, one.sent_first + one.sent_count)}
    kept: list[Record] = [one for one in records if one in heard or one.id in wanted or one.tag == "start_peer"]
    return b"".join([encode_header(tape.header), *map(encode_note, tape.notes), *map(encode_record, kept)])


def main() -> None:
    """Replace the stored tape."""
    with tempfile.TemporaryDirectory(prefix="homing-tape-") as directory:
        file = Path(directory) / "whole.tape"
        take(file)
        TAPE.write_bytes(shorten(file))
    print(f"{TAPE}: {TAPE.stat().st_size} bytes")


if __name__ == "__main__":
    main()

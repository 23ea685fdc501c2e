"""The `homing` command as a process.  Little is imported here, so that Ctrl-C says nothing while the rest is."""

import gc
import os
import sys
from importlib import import_module

INTERRUPTED = 1  # exit code, as actors.cli.errors.FAILED


def main() -> None:
    """Run the command of this process's arguments and exit."""
    gc.disable()  # until all is imported (`execute`): what is lives as long as the process
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller (`>&-`)
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
    try:
        code = import_module("actors.cli.application").answer(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    gc.freeze()  # else the end of the interpreter goes through all of it: a sixth of what `homing status` costs
    sys.exit(code)


if __name__ == "__main__":
    main()

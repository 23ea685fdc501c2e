"""What of this machine matters to a bug report: versions, kernel, clocks, interfaces, routes, tools, our processes."""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

PROGRAM_S = 3.0  # that a program may take
MAX_OUTPUT_LEN = 256 * 1024  # characters of one program
TOOLS = ("ip", "nft", "iptables", "conntrack", "wg", "wireguard-go", "systemctl", "supervisord")
COMMANDS = (
    ("ip", "-details", "-statistics", "addr"),
    ("ip", "rule"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
)
SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/tcp_mtu_probing",
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
)
STATE_LINES = ("Name:", "State:", "PPid:", "Threads:", "VmRSS:", "Uid:", "CapEff:", "voluntary_ctxt", "nonvoluntary")


def versions() -> str:
    """Return ours, Python's, and those of the packages that we stand on."""
    lines = [f"homing {metadata.version('homing')}", f"python {platform.python_version()}"]
    for needed in metadata.requires("homing") or ():
        name = needed.split(";")[0].split("<")[0].split(">")[0].split("=")[0].split("~")[0].strip()
        if "extra ==" in needed:
            continue
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    return _text(lines)


def machine() -> str:
    """Return system, clocks, load and tools."""
    about = platform.uname()
    lines = [
        f"system     {_os_name()}",
        f"kernel     {about.system} {about.release} {about.version} {about.machine}",
        f"processors {os.cpu_count()}, load {' '.join(f'{load:.2f}' for load in os.getloadavg())}",
        *_lines_of(Path("/proc/meminfo"), ("MemTotal:", "MemAvailable:")),
        f"time       {time.strftime('%Y-%m-%dT%H:%M:%S%z')}, unix {time.time():.3f}",
        f"boot time  {time.clock_gettime(time.CLOCK_BOOTTIME):.3f} s, awake {time.monotonic():.3f} s",
        "",
        *(f"{tool:<12} {shutil.which(tool) or 'not found'}" for tool in TOOLS),
        "",
    ]
    for name in SETTINGS:
        try:
            lines.append(f"{name} = {Path('/proc/sys', name).read_text(encoding='ascii').strip()}")
        except OSError:
            lines.append(f"{name} cannot be read")
    return _text(lines)


def network() -> str:
    """Return the interfaces, addresses, rules and routes of this network namespace."""
    return _text(line for command in COMMANDS for line in ("$ " + " ".join(command), _output(command), ""))


def processes(pids: Sequence[int]) -> str:
    """Return what the kernel says of these processes."""
    lines: list[str] = []
    for pid in pids:
        found = list(_lines_of(Path(f"/proc/{pid}/status"), STATE_LINES))
        lines += [f"process {pid}", *(f"  {line}" for line in found or ("is gone",))]
        try:
            lines.append(f"  descriptors: {len(os.listdir(f'/proc/{pid}/fd'))}")
            waits = Path(f"/proc/{pid}/wchan").read_text(encoding="ascii").strip("0\n")
        except OSError:
            continue
        lines.append(f"  waits in: {waits or '-'}")
    return _text(lines)


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PROGRAM_S, check=False, stdin=subprocess.DEVNULL, env=_environment()
        )
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"no answer within {PROGRAM_S:g} s"
    except OSError as error:
        return str(error.strerror)
    out = (done.stdout + done.stderr).decode("utf-8", "replace")
    return out[:MAX_OUTPUT_LEN].rstrip()


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH") or os.defpath, "LC_ALL": "C"}


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def _lines_of(path: Path, beginnings: tuple[str, ...]) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    yield from (" ".join(line.split()) for line in text.splitlines() if line.startswith(beginnings))


def _text(lines: Sequence[str] | Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)

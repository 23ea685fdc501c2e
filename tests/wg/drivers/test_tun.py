import os
import socket
from pathlib import Path

import pytest

from tests.wg.drivers.namespace import error_as_nobody, in_namespace, ip
from wg.drivers import tun
from wg.drivers.tun import BATCH_LEN, TunDriver, TunGone, TunUnavailable, open_tun

pytestmark = pytest.mark.netns

NAME = "ppathtun0"
OURS, BEYOND = "10.99.0.1", "10.99.0.2"


@in_namespace
def test_what_the_host_sends_is_read_and_what_is_written_the_host_gets() -> None:
    driver, sock = device()
    sock.sendto(b"out", (BEYOND, 9))
    (packet,) = driver.read()
    assert (packet[12:16], packet[16:20], packet[28:]) == (bytes([10, 99, 0, 1]), bytes([10, 99, 0, 2]), b"out")
    assert driver.read() == []
    driver.write([answer(packet, b"one"), answer(packet, b"two")])
    assert [sock.recv(100), sock.recv(100)] == [b"one", b"two"]
    assert driver.drops == {}
    close(driver, sock)


@in_namespace
def test_a_wake_up_reads_a_batch_at_most() -> None:
    driver, sock = device()
    for number in range(BATCH_LEN + 5):
        sock.sendto(bytes([number]), (BEYOND, 9))
    assert [packet[-1] for packet in driver.read()] == [*range(BATCH_LEN)]
    assert [packet[-1] for packet in driver.read()] == [*range(BATCH_LEN, BATCH_LEN + 5)]
    close(driver, sock)


@in_namespace
def test_packets_of_any_length_come_whole() -> None:
    driver, sock = device()
    ip("link", "set", NAME, "mtu", "9000")
    sock.sendto(bytes(8972), (BEYOND, 9))
    assert [len(packet) for packet in driver.read()] == [9000]
    close(driver, sock)


@in_namespace
def test_what_the_kernel_refuses_is_counted() -> None:
    driver, sock = device()
    driver.write([b"\x00" * 40])
    ip("link", "set", NAME, "down")
    driver.write([b"\x45" + bytes(39)])
    assert driver.drops == {"EINVAL": 1, "EIO": 1}
    assert driver.read() == []
    close(driver, sock)


@in_namespace
def test_a_deleted_device_is_told() -> None:
    driver, sock = device()
    ip("link", "delete", NAME)
    with pytest.raises(TunGone, match="the TUN device is gone"):
        driver.read()
    with pytest.raises(TunGone, match="the TUN device is gone"):
        driver.write([b"\x45" + bytes(39)])
    close(driver, sock)


@in_namespace
def test_an_inherited_descriptor_serves() -> None:
    first, sock = device()
    second = TunDriver(os.dup(first.fd))
    first.close()
    sock.sendto(b"out", (BEYOND, 9))
    assert [packet[28:] for packet in second.read()] == [b"out"]
    close(second, sock)


@in_namespace
def test_a_device_in_use_is_refused() -> None:
    driver, sock = device()
    with pytest.raises(TunUnavailable, match=f"^the TUN device {NAME} is in use: stop the other program, or set "):
        open_tun(NAME)
    close(driver, sock)


@in_namespace
def test_an_interface_of_another_kind_is_refused() -> None:
    with pytest.raises(TunUnavailable, match=r"^an interface lo exists and is no TUN device: remove it, or set "):
        open_tun("lo")


@pytest.mark.parametrize("name", ["", "a-name-too-long-for-it", "with/slash"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(TunUnavailable, match=r"is no interface name: 1 to 15 bytes without a slash$"):
        open_tun(name)


def test_a_missing_device_file_says_what_would_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tun, "DEVICE", str(tmp_path / "tun"))
    with pytest.raises(TunUnavailable, match=r"^there is no .*/tun: load the module \(modprobe tun\), or give "):
        open_tun(NAME)


def test_without_privilege_it_says_what_it_needs() -> None:
    expected = f"no privilege to make the TUN device {NAME}: run as root, or with CAP_NET_ADMIN"
    assert error_as_nobody(lambda: open_tun(NAME)) == expected


def device() -> tuple[TunDriver, socket.socket]:
    """Return a device that is up, and a socket of the host on it."""
    driver = TunDriver(open_tun(NAME))
    ip("address", "add", f"{OURS}/24", "dev", NAME)
    ip("link", "set", NAME, "addrgenmode", "none")  # or the host's IPv6 says something by itself
    ip("link", "set", NAME, "up")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((OURS, 0))
    sock.settimeout(10.0)
    return driver, sock


def close(driver: TunDriver, sock: socket.socket) -> None:
    """Close both; the namespace goes with them."""
    driver.close()
    sock.close()


def answer(packet: bytes, payload: bytes) -> bytes:
    """Return the UDP packet that goes the other way, with the right header checksum and no UDP checksum."""
    length = 28 + len(payload)
    head = b"\x45\0" + length.to_bytes(2, "big") + bytes(4) + b"\x40\x11\0\0" + packet[16:20] + packet[12:16]
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, 20, 2))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    udp = packet[22:24] + packet[20:22] + (8 + len(payload)).to_bytes(2, "big") + b"\0\0"
    return head[:10] + checksum.to_bytes(2, "big") + head[12:] + udp + payload

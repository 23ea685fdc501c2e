"""The agent's network interface: made, addressed, routed, and taken away again by the supervisor alone."""

import errno
import ipaddress
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from loguru import logger

from actors.runtime.netlink import Netlink, Network
from transport.drivers.interfaces import read_network
from wg.drivers.tun import open_tun

OWNER = "homing "  # then the node's name: the interface's alias, by which a leftover is known as ours
LEAVING_S = 2.0  # how long the processes of an agent that was killed may take to let go of it


class InterfaceUnavailable(Exception):
    """The interface cannot be made or set up; the message says what was seen and what would do."""


class TunInterface:
    """The TUN device of this node, up and routed.  Raises InterfaceUnavailable or wg.drivers.tun.TunUnavailable."""

    def __init__(self, name: str, node: str, addresses: Iterable[str], mtu: int) -> None:
        self.name = name
        self._node, self._mtu = node, mtu
        self._addresses = [ipaddress.ip_interface(address) for address in addresses]
        self._networks: set[Network] = set()
        self._netlink = Netlink()
        try:
            self._clear_leftover()
            self.fd, self._index = self._make()
        except BaseException:
            self._netlink.close()
            raise

    def restore(self) -> bool:
        """Make the interface anew, with its routes, if somebody has deleted it; return whether that was so."""
        found = self._netlink.find_link(self.name)
        if found is not None and found.index == self._index:
            return False
        fd, self._index = self._make()
        os.close(self.fd)
        self.fd = fd
        networks, self._networks = self._networks, set()
        self.route(map(str, networks))
        return True

    def repair(self) -> list[str]:
        """Undo what others have done to the interface, and return what that was; nothing if somebody has deleted it.

        Raises OSError.
        """
        found = self._netlink.find_link(self.name)
        if found is None or found.index != self._index:
            return []  # it takes a new descriptor: `restore`, once the packet process has ended over it
        done: list[str] = []
        present = {(one.ip, one.prefix_len) for one in read_network().addresses if one.index == self._index}
        for address in self._addresses:
            if (str(address.ip), address.network.prefixlen) not in present:
                self._netlink.add_address(self._index, address)
                done.append(f"it lacked {address}")
        if not found.up:
            self._netlink.set_link_up(self._index)
            done.append("it was down")
        return [*done, *self._repair_routes()]

    def _repair_routes(self) -> list[str]:
        routes = read_network().routes
        if routes is None:
            return []  # too many to look for ours
        present = {route.network for route in routes if route.interface == self.name}
        connected = {own.network for own in self._addresses if own.network.num_addresses > 1}
        done = []
        for network in sorted((self._networks | connected), key=str):
            if str(network) in present:
                continue
            try:
                self._netlink.add_route(self._index, network)
            except FileExistsError:  # the operator leads it elsewhere
                self._networks.discard(network)
                logger.warning("no route to {} through {} any more: there is another one", network, self.name)
            else:
                done.append(f"it lacked the route to {network}")
        return done

    def route(self, prefixes: Iterable[str]) -> None:
        """Send these networks' packets to the interface, and no others.  One that is taken already is left alone."""
        networks = {ipaddress.ip_network(prefix, strict=False) for prefix in prefixes}
        wanted = {network for network in networks if not self._is_connected(network)}
        for network in sorted(self._networks - wanted, key=str):
            with suppress(OSError):  # the operator was quicker
                self._netlink.delete_route(self._index, network)
        self._networks &= wanted
        for network in sorted(wanted - self._networks, key=str):
            try:
                self._netlink.add_route(self._index, network)
            except OSError as error:
                logger.warning("no route to {} through {}: {}", network, self.name, error.strerror or error)
            else:
                self._networks.add(network)

    def remove(self) -> None:
        """Take the interface away, with its addresses and routes."""
        with suppress(OSError):  # it may be gone already
            self._netlink.delete_link(self._index)
        os.close(self.fd)
        self._netlink.close()

    def _make(self) -> tuple[int, int]:
        """Return descriptor and index of a fresh device, set up."""
        fd = open_tun(self.name)
        try:
            return fd, self._set_up()
        except OSError as error:
            os.close(fd)
            raise InterfaceUnavailable(f"cannot set up the interface {self.name}: {error.strerror or error}") from None

    def _set_up(self) -> int:
        found = self._netlink.find_link(self.name)
        if found is None:
            raise OSError(errno.ENODEV, "it vanished meanwhile")
        index = found.index
        self._netlink.set_link(index, alias=OWNER + self._node, mtu=self._mtu)
        # No link-local address: the host would send router solicitations into the tunnel.
        with suppress(OSError):  # a kernel without IPv6
            Path(f"/proc/sys/net/ipv6/conf/{self.name}/addr_gen_mode").write_text("1", encoding="ascii")
        for address in self._addresses:
            self._netlink.add_address(index, address)
        self._netlink.set_link_up(index)
        return index

    def _is_connected(self, network: Network) -> bool:
        """Whether the kernel routes it to the interface because of an address that the interface has."""
        return any(
            isinstance(network, type(own.network)) and network.subnet_of(own.network)  # type: ignore[arg-type]
            for own in self._addresses
        )

    def _clear_leftover(self) -> None:
        """Wait until an interface that a killed agent left is gone, and remove it if it stays."""
        give_up_at = time.monotonic() + LEAVING_S
        while (found := self._netlink.find_link(self.name)) is not None:
            if found.alias != OWNER + self._node:
                owner = f"belongs to {found.alias!r}" if found.alias else "is not ours"
                raise InterfaceUnavailable(
                    f"an interface {self.name} exists and {owner}: "
                    f"set another interface in [node], or remove it (ip link del {self.name})"
                )
            if time.monotonic() >= give_up_at:
                logger.info("removing the interface {} that an earlier run left", self.name)
                self._netlink.delete_link(found.index)
                return
            time.sleep(0.02)

"""How the ranks of several nodes reach each other: rank 0's address, and the interface towards it.

A host's own name often resolves to 127.0.1.1 (Debian's /etc/hosts). gloo would take the loopback interface
then, and NCCL may take one that leads nowhere, such as a container's bridge.
"""

import ipaddress
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from espnet3.slurm.step import node_address

INTERFACE_VARIABLES = {"GLOO_SOCKET_IFNAME": "{}", "NCCL_SOCKET_IFNAME": "={}"}
"""Variables by which libraries choose an interface -> form of its name: NCCL's is a prefix without "="."""


def master_address(environment: Mapping[str, str], num_nodes: int) -> str:
    """Where rank 0 is reached from this node: by its node's name if that resolves here, else by its address.

    With several nodes a name that resolves to this node's loopback is of no use.
    """
    name, address = environment["MASTER_ADDR"], environment.get("MASTER_IP", "")
    addresses = addresses_of(name)
    if not addresses or (num_nodes > 1 and all(map(is_loopback, addresses))):
        return address or name
    return name


def first_node_address(nodes: Sequence[str]) -> str:
    """The address of the first of `nodes`, on which this process is, for all of them.

    Raises:
        UserError: its name does not resolve, nor does its address in Slurm.
    """
    address = node_address(nodes[0])
    if len(nodes) > 1 and is_loopback(address):  # by Debian's /etc/hosts
        return own_address_towards(node_address(nodes[1])) or address
    return address


def interface_environment(master: str, num_nodes: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables by which gloo and NCCL take the interface that routes to `master`, unless they are set."""
    interface = interface_towards(master) if num_nodes > 1 else ""
    return {
        name: form.format(interface)
        for name, form in INTERFACE_VARIABLES.items()
        if interface and not environment.get(name)
    }


def interface_towards(host: str) -> str:
    """The interface of this node by which `host`, which may be this node, is reached; empty for loopback."""
    address = next((one for one in addresses_of(host) if not is_loopback(one)), "")
    texts = {4: "", 6: ""}
    for version, name in ((4, "route"), (6, "ipv6_route")):
        with suppress(OSError):
            texts[version] = Path(f"/proc/net/{name}").read_text()
    return route_interface(address, texts[4], texts[6]) if address else ""


def route_interface(address: str, routes: str, ipv6_routes: str) -> str:
    """The interface of the longest route to `address`, from the text of /proc/net/route and ipv6_route."""
    target, found = ipaddress.ip_address(address), []
    for line in routes.splitlines()[1:] if target.version == 4 else ():
        name, destination, _, flags, _, _, metric, mask, *_ = line.split()
        network, bits = (int.from_bytes(bytes.fromhex(word), "little") for word in (destination, mask))
        if int(flags, 16) & 1 and int(target) & bits == network:
            found.append((bits.bit_count(), -int(metric), name))
    for line in ipv6_routes.splitlines() if target.version == 6 else ():
        destination, length, *_, metric, _, _, _, name = line.split()
        shift = 128 - int(length, 16)
        # of its own addresses a node has routes of full length, which say nothing about the network
        if name != "lo" and shift and int(target) >> shift == int(destination, 16) >> shift:
            found.append((128 - shift, -int(metric, 16), name))
    return max(found, default=(0, 0, ""))[2]


def own_address_towards(host: str) -> str:
    """The address from which this node reaches `host`; empty if there is no way, or only by loopback."""
    for address in addresses_of(host):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.connect((address, 9))  # sends nothing
            own = str(probe.getsockname()[0])
            if not is_loopback(own):
                return own
    return ""


def addresses_of(host: str) -> list[str]:
    """The IP addresses to which a name resolves here; none if it does not."""
    try:
        return list(
            dict.fromkeys(str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host, None))
        )
    except OSError:
        return []


def is_loopback(address: str) -> bool:
    """Whether an IP address is of this machine only: 127.x, ::1."""
    return ipaddress.ip_address(address).is_loopback


def set_interfaces(master: str, num_nodes: int) -> None:
    """Set the variables of `interface_environment` in this process."""
    os.environ.update(interface_environment(master, num_nodes, os.environ))

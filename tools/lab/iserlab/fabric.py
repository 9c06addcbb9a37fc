# SPDX-License-Identifier: GPL-2.0-only
"""An RDMA device in a guest: soft-RoCE (rxe) or soft-iWARP (siw) on a network card.

Normally: up() configures the card and puts the device on it. The MTU leaves room for
RoCE's largest one, 4096, and its headers. Duplicate address detection is off, so IPv6
addresses can be used at once.

Recovery: none; a card that cannot be set up is an error of the lab.
"""

from dataclasses import dataclass

MTU = 4200


@dataclass(frozen=True)
class Port:
    """Where a guest is on the RDMA network."""
    nic: str
    device: str
    ipv4: str
    ipv6: str
    link_local: str     # with its scope, as a portal wants it


def up(guest, number=1, nic="eth0", kind="rxe"):
    """Make host @number of the test network, 10.0.0.@number, out of a guest."""
    ipv4, ipv6 = f"10.0.0.{number}", f"fd00::{number}"
    done = guest.run(f"""
        set -e
        echo 0 >/proc/sys/net/ipv6/conf/{nic}/accept_dad
        ip address add {ipv4}/24 dev {nic}
        ip address add {ipv6}/64 dev {nic} nodad
        ip link set {nic} mtu {MTU} up
        modprobe rdma_ucm
        {_device(nic, kind)}
        ip -6 -o address show dev {nic} scope link | sed 's,.*inet6 \\([^/]*\\)/.*,\\1,'
        """)
    return Port(nic, f"{kind}0", ipv4, ipv6, f"{done.stdout.strip()}%{nic}")


def change(guest, kind, nic="eth0"):
    """Put another kind of device on the card; nobody uses the old one."""
    guest.run(f"""
        set -e
        for link in $(rdma link show | sed -n 's,^link \\([^/]*\\)/1 .*,\\1,p'); do
            rdma link delete $link
        done
        {_device(nic, kind)}""")


def _device(nic, kind):
    """The lines that make the RDMA device."""
    driver = {"rxe": "rdma_rxe"}.get(kind, kind)
    return f"""
        modprobe {driver}
        rdma link add {kind}0 type {kind} netdev {nic}
        for try in $(seq 100); do
            rdma link show {kind}0/1 | grep -q 'state ACTIVE' && break
            sleep 0.1
        done
        rdma link show {kind}0/1 | grep 'state ACTIVE' >/dev/null"""

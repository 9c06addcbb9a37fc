# SPDX-License-Identifier: GPL-2.0-only
"""Where a guest's instructions go: exact counts by function and by component.

Normally:

    counts = Counts(path)
    with Guest(kernel, icount=True, devices=counts.words()) as guest:
        symbols = Symbols(guest)
        before = counts.read()
        ...
        spent = symbols.spent(before, counts.read())    # Counter of (component, function)
        calls = counts.times(symbols.address("scsi_queue_rq"))

insns.c, a plugin of qemu, counts; /proc/kallsyms says what is where. An idle processor executes
nothing, so that what is counted is work.

What a function belongs to is the module that it is in; in the kernel itself its name has to tell,
so the components "network" and "block" are what NAMES says that they are.

Recovery: none; without plugins in qemu there is no guest, and qemu says why.
"""

import array
import bisect
import re
from collections import Counter
from pathlib import Path

from iserlab import host
from iserlab.paths import CACHE, cached, digest

SOURCES = [Path(__file__).with_name(name) for name in ("insns.c", "qemu.h")]
COMPILE = ("gcc", "-std=gnu2x", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden",
           "-shared", "-fPIC")
PROGRAMS, NO_ROOM = 0, 1
# what insns.c calls them
NAMELESS = {PROGRAMS: ("programs", ""), NO_ROOM: ("kernel", "?")}
WORDS = 3   # of an entry: address, times, instructions

MODULES = {
    "ib_iser": ("ib_iser",),
    "iscsi_tcp": ("iscsi_tcp", "libiscsi_tcp"),
    "nvme": ("nvme_rdma", "nvme_fabrics", "nvme_core", "nvme"),
    "libiscsi": ("libiscsi", "scsi_transport_iscsi"),
    "SCSI": ("scsi_mod", "sd_mod", "scsi_common", "sg"),
    "RDMA core": ("ib_core", "rdma_cm", "ib_cm", "iw_cm", "ib_uverbs", "rdma_ucm"),
    "adapter": ("rdma_rxe", "simhca", "siw"),
    "target": ("iscsi_target_mod", "ib_isert", "target_core_mod", "target_core_iblock",
               "null_blk", "nvmet", "nvmet_rdma"),
    "network": ("virtio_net", "ip6_udp_tunnel", "udp_tunnel"),
}
COMPONENT = {module: component for component, modules in MODULES.items() for module in modules}
NAMES = {
    "network": re.compile(
        r"_*(tcp|udp|ip|ip6|ipv4|ipv6|inet6?|sk|skb|sock|dev|net|netif|napi|qdisc|pfifo|fq|sch|eth|"
        r"neigh|dst|fib|rt|nf|netdev|validate_xmit|release_sock|lock_sock|kernel_(send|recv)msg|"
        r"kfree_skb|consume_skb|alloc_skb|build_skb|pskb|gro|loopback|arp|bpf_prog|xps?|"
        r"crc32c?|kmalloc_reserve|page_frag|csum|xfrm|virtqueue|vring|vp|detach_buf)_"),
    "block": re.compile(r"_*(blk|blkdev|bio|bioset|bdev|block|sbitmap|disk|dd|elv|elevator|mq|"
                        r"submit_bio|wbt|rq_qos|part|ioc|io|aio|iomap|iov_iter|kiocb)_"),
    "copying": re.compile(r"_*(memcpy|memset|memmove|rep_movs|copy_(to|from)_(user|iter)|"
                          r"clear_page|copy_user|csum_partial)"),
}


def plugin():
    """The plugin, for qemu."""
    def make(tmp):
        host.run(*COMPILE, "-o", tmp, SOURCES[0], what="building tests/bench/insns.c")

    return cached(CACHE / "bench" / f"{digest(' '.join(COMPILE), *SOURCES)}.so", make)


def component(module, function):
    """What a function belongs to."""
    if module:
        return COMPONENT.get(module, "modules")
    for name, pattern in NAMES.items():
        if pattern.match(function):
            return name
    return "kernel"


class Counts:
    """The counters of a guest that has not begun yet."""

    def __init__(self, path):
        self.path = Path(path)

    def words(self):
        """What the guest's devices need."""
        return ("-plugin", f"file={plugin()},counts={self.path}")

    def read(self):
        """All that was executed up to now: {address: instructions}, those of NAMELESS by number."""
        table = self._table()
        found = {address: count for address, count in zip(table[::WORDS], table[2::WORDS]) if count}
        for number in NAMELESS:
            found[number] = table[number * WORDS + 2]
        return found

    def times(self, address):
        """How often what begins at an address was executed up to now."""
        table = self._table()
        # an address is nobody's count
        try:
            return table[table.index(address) + 1]
        except ValueError:
            return 0

    def _table(self):
        return array.array("Q", self.path.read_bytes())


class Symbols:
    """What is where in a guest's kernel. Modules move; look() finds them again."""

    def __init__(self, guest):
        self.guest = guest
        self.fixed = _parse(guest.run("grep -v '\\[' /proc/kallsyms").stdout)
        self.look()

    def look(self):
        """Find the modules."""
        loaded = _parse(self.guest.run("grep '\\[' /proc/kallsyms").stdout)
        found = sorted(self.fixed + loaded)
        self.addresses = [address for address, _, _ in found]
        self.names = [(component(module, function), function) for _, function, module in found]

    def spent(self, before, after):
        """Instructions between two readings; a Counter of (component, function)."""
        spent = Counter()
        for address, count in after.items():
            # an entry that was not there counts from 0
            done = count - before.get(address, 0)
            if done:
                spent[self.name(address)] += done
        return spent

    def address(self, function):
        """Where a function begins."""
        (found,) = (address for address, (_, name) in zip(self.addresses, self.names)
                    if name == function)
        return found

    def name(self, address):
        """(component, function) of an address."""
        if address in NAMELESS:
            return NAMELESS[address]
        return self.names[max(0, bisect.bisect_right(self.addresses, address) - 1)]


def _parse(kallsyms):
    """[(address, function, module)] of functions."""
    found = []
    for line in kallsyms.splitlines():
        address, kind, function, *module = line.split()
        if kind in "tTwW":
            found.append((int(address, 16), function, module[0].strip("[]") if module else ""))
    return found


def by_component(spent):
    """The same by component only."""
    found = Counter()
    for (name, _), count in spent.items():
        found[name] += count
    return found

# SPDX-License-Identifier: GPL-2.0-only
"""Who is compared: each peer makes a disk of the same kind of target, and takes it away.

Owns: the kernel modules of the peers (ours, variants of ours, the kernel's own ib_iser), and
their targets. On soft-RoCE and TCP the target is LIO, or nvmet for nvme-rdma, each over the same
kind of null_blk; on simhca it is the simulated one, which keeps no data.

Normally: `with peer.disk() as device:`, one peer at a time in one guest. The kernel calls the
function peer.request once for each request.
Recovery: none; a peer that cannot be set up ends the run with what the guest said.
"""

import contextlib
import re
from dataclasses import dataclass, field

from iserlab import module
from iserlab.initiator import Initiator
from iserlab.target import Lio, NullDisk, Portal, Target

IQN = "iqn.2026-01.lab.iser:bench"
DISK_MB = 4096
SERVER = 1      # host number
ADDRESS = f"10.0.0.{SERVER}"
ISER, TCP = Portal(ADDRESS), Portal(ADDRESS, 3262, iser=False)
NQN, NVME_DISK = "nqn.2026-01.lab.iser.bench", NullDisk("nullb1", DISK_MB)
SERVED = Target(IQN, (NullDisk("nullb0", DISK_MB),), (ISER, TCP))
# how much a simulated target takes in one PDU: as much as LIO has room for
TYPICAL = {"recv_dsl": 8192}
SETTINGS = {"node.session.cmds_max": 128, "node.session.queue_depth": 128}
# the target decides how much goes into one PDU
UNLIMITED = {"node.conn[0].iscsi.MaxXmitDataSegmentLength": 256 << 10}

NVME_TARGET = """
set -e
modprobe -a nvmet-rdma nvme-rdma
cd /sys/kernel/config/nvmet
mkdir subsystems/{nqn} subsystems/{nqn}/namespaces/1 ports/1
echo 1 >subsystems/{nqn}/attr_allow_any_host
echo {disk} >subsystems/{nqn}/namespaces/1/device_path
echo 1 >subsystems/{nqn}/namespaces/1/enable
cd ports/1
echo rdma >addr_trtype
echo ipv4 >addr_adrfam
echo {address} >addr_traddr
echo 4420 >addr_trsvcid
ln -s /sys/kernel/config/nvmet/subsystems/{nqn} subsystems/{nqn}
"""
NVME_CONNECT = """
set -e
modprobe nvme-rdma
nvme connect -t rdma -a {address} -s 4420 -n {nqn} -i 1 -Q 128 >/dev/null
for try in $(seq 100); do
    device=$(ls /dev/nvme*n1 2>/dev/null) && break
    sleep 0.1
done
udevadm settle
echo $device
"""


# of /proc/meminfo: what is not the kernel's, or would be given up; processors keep some free
# pages, too, which zoneinfo tells
NOT_KERNEL = ("MemFree", "Buffers", "Cached", "AnonPages", "SReclaimable")

# perftest's programs, by what they do with the memory of the other side, in the way that is the
# cheapest: 16 work requests to a doorbell and to a completion, and asleep until that comes, which
# it does not offer for writes
LISTED = "--post_list=16 --cq-mod=16"
VERBS = {"send": f"ib_send_bw --events {LISTED}", "write": f"ib_write_bw {LISTED}",
         "read": f"ib_read_bw --events {LISTED}"}
VERBS_LATENCY = "ib_read_lat --events"
VERBS_RUN = """
set -e
{run} >/dev/null 2>&1 &
server=$!
sleep 1
{run} {address}
wait $server
"""


@contextlib.contextmanager
def logged_in(initiator, iqn, portal, more=()):
    """The disk of a session that ends with the block."""
    (session,) = initiator.login(iqn, portal, SETTINGS | dict(more))
    yield session.disk
    initiator.clear()


def verbs(guest, what, size, depth, count):
    """Have perftest do so many work requests, from this guest to itself."""
    _perftest(guest, f"{VERBS[what]} --tx-depth={depth}", size, count)


def verbs_latency(guest, size, count):
    """How long a read takes by itself, in microseconds: the median, as perftest has it."""
    said = _perftest(guest, VERBS_LATENCY, size, count)
    # size, how many, the least, the most, the median
    return float(re.search(rf"^ *{size} +\d+ +\S+ +\S+ +(\S+)", said, re.MULTILINE)[1])


def _perftest(guest, command, size, count):
    run = f"{command} -d rxe0 -R -F --size={size} --iters={count}"
    return guest.run(VERBS_RUN.format(run=run, address=ADDRESS), timeout=600).stdout


@dataclass
class Iser:
    """iSER over one of several modules of the same name."""
    guest: object
    name: str
    ko: str             # a file in the guest
    hca: object = None  # the simulated adapter, if it is not LIO over soft-RoCE
    knobs: dict = field(default_factory=dict)   # of its, beyond those of TYPICAL
    request: str = "scsi_queue_rq"

    def load(self):
        """Load the module; returns where it can log in."""
        self.guest.run(f"! grep -q ^ib_iser /proc/modules || rmmod ib_iser; insmod {self.ko}")
        if not self.hca:
            return IQN, ISER
        self.hca.set(**(TYPICAL | self.knobs))
        return self.hca.iqn(), self.hca.portal()

    def disk(self):
        """Load the module and log in; out again at the end."""
        return logged_in(self.initiator(), *self.load(), UNLIMITED if self.hca else ())

    def initiator(self):
        """Who logs in."""
        return Initiator(self.guest)


@dataclass
class Tcp:
    """iscsi_tcp."""
    guest: object
    name: str = "iscsi_tcp"
    request: str = "scsi_queue_rq"

    def load(self):
        """Where it can log in."""
        return IQN, TCP

    def disk(self):
        """Log in; out again at the end."""
        return logged_in(self.initiator(), *self.load())

    def initiator(self):
        """Who logs in."""
        return Initiator(self.guest, "default")


@dataclass
class Nvme:
    """nvme-rdma."""
    guest: object
    name: str = "nvme-rdma"
    request: str = "nvme_rdma_queue_rq"

    @contextlib.contextmanager
    def disk(self):
        """Connect; disconnect at the end."""
        connect = NVME_CONNECT.format(nqn=NQN, address=ADDRESS)
        yield self.guest.run(connect, timeout=120).stdout.strip()
        self.guest.run(f"nvme disconnect -n {NQN} >/dev/null")


def session_kib(peer, first=4, more=8):
    """What another idle session of an iSCSI peer takes of the kernel's memory, of several."""
    initiator, (iqn, portal) = peer.initiator(), peer.load()
    used = []
    for count in (first, first + more):
        initiator.login(iqn, portal, SETTINGS | {"node.session.nr_sessions": count})
        used.append(_used(peer.guest))
    initiator.clear()
    return (used[1] - used[0]) / more


def _used(guest):
    """Memory of the kernel that is neither free nor easily freed, in KiB."""
    guest.run("udevadm settle; sync; echo 3 >/proc/sys/vm/drop_caches; sleep 3; "
              "cat /proc/sys/vm/stat_refresh")
    kept = re.findall(r"^ +count: (\d+)$", guest.read("/proc/zoneinfo"), re.MULTILINE)
    has = {name: int(size) for name, size in
           re.findall(r"^(\w+): +(\d+) kB$", guest.read("/proc/meminfo"), re.MULTILINE)}
    return has["MemTotal"] - sum(has[name] for name in NOT_KERNEL) - 4 * sum(map(int, kept))


def serve(guest):
    """The targets that are behind soft-RoCE and TCP."""
    Lio(guest).serve(SERVED)
    guest.run("\n".join(["set -e", *NVME_DISK.make()]))
    guest.run(NVME_TARGET.format(nqn=NQN, address=ADDRESS, disk=NVME_DISK.path),
              timeout=120)


def own(guest, name="ib_iser", variant=module.IB_ISER):
    """Our module, or a variant of it, as a file in the guest."""
    where = f"/root/{re.sub(r'[^a-z0-9_]+', '-', name)}.ko"
    module.bring(guest, variant, where)
    return where


def stock(guest):
    """The kernel's own."""
    return guest.run("modprobe -a libiscsi rdma_cm ib_core && find /lib/modules/$(uname -r)/kernel/"
                     "drivers/infiniband/ulp/iser -name 'ib_iser.ko*'").stdout.strip()

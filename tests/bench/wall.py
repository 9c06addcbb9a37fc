# SPDX-License-Identifier: GPL-2.0-only
"""`make bench-wall`: by the host's clock, with two processors; and how it grows.

Normally: first all peers over soft-RoCE, in turns as bench.py has them, but with the time as it
passes; a figure is the median of REPEATS, with the spread between the extremes. Then sessions:
1, 2, 4 and 8 of them to one LUN, joined by dm-multipath (queue-length), with one processor and
with two: the documented way past one queue pair. Last, with the clock that counts instructions
and the simulated adapter, what an I/O costs while more and more LUNs, sessions and commands share
the work: that must stay flat (FLAT). --growth does only this, which is not noisy.

The first two are NOISY: whatever else the host does is in them, and under emulation a processor
of a guest is a thread of qemu. Compare within a run.

Recovery: none, as in bench.py.
"""

import argparse
import statistics
import sys
import time

import bench
import peers
from iserlab import fabric, kernels, simhca
from iserlab.guest import Guest
from iserlab.initiator import Initiator
from iserlab.paths import say
from iserlab.tables import columns
from meter import Workload, parse

SECONDS, REPEATS = 4, 5
SESSIONS = (1, 2, 4, 8)
PROCESSORS = (1, 2)
READS, WRITES = bench.both("4k", 32)
WORKLOADS = (*bench.both("4k", 1), READS, WRITES, *bench.both("128k", 8))
# (sessions, LUNs of each, commands at each, tasks of each); 15 of the tasks are not for commands
GROWTH = ((1, 1, 1, 128), (1, 1, 8, 128), (1, 1, 32, 128), (1, 1, 64, 128), (1, 1, 112, 128),
          (1, 1, 112, 512), (2, 1, 32, 128), (4, 1, 32, 128), (8, 1, 32, 128), (1, 4, 32, 128),
          (1, 16, 32, 128), (4, 16, 32, 128))
GROWING = ("sessions", "LUNs of each", "commands at each", "tasks of each")
COSTS = ("kernel_insns_per_io", "module_insns_per_io")
# how much more than the least an I/O may cost where there are so many commands at each session, or
# more; with fewer it is dearer, as they share less of an interrupt and of what follows it
FLAT, MANY = 0.05, 32
MULTIPATH = """
set -e
modprobe -a dm-multipath dm-queue-length
size=$(blockdev --getsz {first})
dmsetup create joined --table "0 $size multipath 0 0 1 1 queue-length 0 {count} 1 {paths}"
"""


def timed(guest, device, workload, jobs=1):
    """fio's figures of some seconds."""
    said = guest.run(workload.command(device) + f" --time_based --runtime={SECONDS} "
                     f"--numjobs={jobs} --group_reporting", timeout=300).stdout
    return parse(said)


class Clock:
    """Measures in one guest, as bench.rounds() wants it done."""

    def __init__(self, guest):
        self.guest = guest

    def prepare(self, _peer, device):
        """Nothing is translated for the first time while it is measured."""
        timed(self.guest, device, READS)

    def measure(self, device, workload, _hca):
        """fio's figures."""
        return timed(self.guest, device, workload)


def against_peers(kernel):
    """IOPS and latency of all peers; a list of objects."""
    with Guest(kernel, name="bench", mem_mb=3072, boot_timeout=bench.BOOT) as guest:
        fabric.up(guest)
        Initiator(guest).start()
        peers.serve(guest)
        found = bench.rounds(Clock(guest), bench.rivals(guest), WORKLOADS, REPEATS)
        return bench.summary(found, "rxe")


def joined(guest, disks):
    """One device over several ways to the same LUN."""
    guest.run(MULTIPATH.format(first=disks[0], count=len(disks),
                               paths=" ".join(f"{disk} 1" for disk in disks)))
    return "/dev/mapper/joined"


def scaling(kernel, processors):
    """{sessions: IOPS}, with so many processors and as many threads of fio."""
    found = {}
    with Guest(kernel, name="bench", smp=processors, mem_mb=3072,
               boot_timeout=bench.BOOT) as guest:
        fabric.up(guest)
        initiator = Initiator(guest)
        initiator.start()
        peers.serve(guest)
        iqn, portal = peers.Iser(guest, "ib_iser", peers.own(guest)).load()
        for count in SESSIONS:
            say(f"bench: {count} sessions, {processors} processors")
            sessions = initiator.login(iqn, portal,
                                       peers.SETTINGS | {"node.session.nr_sessions": count})
            device = joined(guest, [session.disk for session in sessions])
            found[count] = statistics.median(timed(guest, device, READS, processors)["iops"]
                                             for _ in range(REPEATS))
            guest.run("dmsetup remove --retry joined")
            initiator.clear()
            time.sleep(1)
    return found


def growth(kernel):
    """{one of GROWTH: {one of COSTS: its value}}."""
    found = {}
    with bench.metered(kernel, bench.IOS, icount=True) as (guest, meter):
        initiator = Initiator(guest)
        initiator.start()
        hca = simhca.load(guest, **bench.ADAPTER, targets=max(each[0] for each in GROWTH))
        peer = peers.Iser(guest, "ib_iser", peers.own(guest), hca)
        _, portal = peer.load()
        for each in GROWTH:
            say("bench: " + ", ".join(f"{name}: {n}" for name, n in zip(GROWING, each)))
            sessions, luns, depth, tasks = each
            hca.set(luns=luns)
            settings = dict.fromkeys(peers.SETTINGS, tasks)
            made = [initiator.login(hca.iqn(number), portal, settings, luns=luns)[0]
                    for number in range(sessions)]
            devices = ":".join(disk for session in made for disk in session.disks.values())
            meter.prepare(peer, devices)
            load = Workload("randread", "4k", depth * sessions)
            measured = meter.measure(devices, load, hca)
            found[each] = {cost: measured[cost] for cost in COSTS}
            initiator.clear()
    return found


def verdict(grown, name):
    """Whether a cost stays flat, as a line."""
    costs = [cost[name] for (_, _, depth, _), cost in grown.items() if depth >= MANY]
    more = max(costs) / min(costs) - 1
    return (f"{name.replace('_', ' ')}, with {MANY} commands at each session or more: {more:.1%} "
            f"between the least and the most, {FLAT:.0%} wanted: "
            f"{'reached' if more <= FLAT else 'missed'}")


def show_growth(grown):
    """Print what was found."""
    print("\nsimhca, 4k randread: instructions for each I/O\n")
    print("\n".join(columns([[*GROWING, "in the kernel", "the module's"],
                             *([*map(str, each), *(f"{cost[name]:.0f}" for name in COSTS)]
                               for each, cost in grown.items())], figures=True)))
    print()
    for name in COSTS:
        print(verdict(grown, name))
    bench.keep([dict(zip(GROWING, each)) | cost for each, cost in grown.items()], "growth.json")


def noisy(kernel):
    """Measure, show and keep what the host's clock says."""
    results = against_peers(kernel)
    print("\nNOISY, by the host's clock\n")
    for name in ("iops", "p50_us", "p99_us"):
        print(f"rxe: {name.replace('_', ' ')}\n")
        print("\n".join(bench.table(results, name, bench.SHOWN[name])) + "\n")
    scaled = {processors: scaling(kernel, processors) for processors in PROCESSORS}
    print(f"NOISY, {READS.name} over dm-multipath: IOPS\n")
    print("\n".join(columns([["processors", *(f"{count} sessions" for count in SESSIONS)],
                             *([str(processors), *(f"{found[count]:.0f}" for count in SESSIONS)]
                               for processors, found in scaled.items())], figures=True)))
    bench.keep({"peers": results, "scaling": scaled}, "wall.json")


def main():
    """Measure, show, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--growth", action="store_true", help="only how it grows")
    kernel = kernels.get("6.12")
    if not parser.parse_args().growth:
        noisy(kernel)
    show_growth(growth(kernel))
    return 0


if __name__ == "__main__":
    sys.exit(bench.status(main))

# SPDX-License-Identifier: GPL-2.0-only
"""`make bench`: what an I/O costs, over our module and over its peers, in one run.

Normally: a guest with one processor whose clock counts instructions (qemu -icount: one
instruction, one nanosecond), so that 10^9 / IOPS are the instructions of an I/O, and a repetition
gives the same figures to a per cent. All peers are measured in one boot, in turns, REPEATS times;
a figure is the median, with the spread between the extremes.

On rxe the figures have initiator, target and soft-RoCE in them; only their ratios say something. On
simhca the adapter's and the target's share is known and taken out: what is left are fio,
the block and SCSI layers, libiscsi and the module. simhca counts what the module does, too.

Recovery: none; nothing is measured of a peer that fails, and the run fails.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tools" / "lab"))

# pylint: disable=wrong-import-position
import peers  # noqa: E402
from iserlab import fabric, kernels, simhca, variants  # noqa: E402
from iserlab.guest import Guest  # noqa: E402
from iserlab.initiator import Initiator  # noqa: E402
from iserlab.paths import LabError, say  # noqa: E402
from iserlab.tables import columns  # noqa: E402

OUT = REPO / "build" / "bench"
REPEATS = 3
SECONDS = 1     # virtual, of each measurement
NANO = 10 ** 9
BOOT = 600
# It works when the processor has nothing else to do, so that what happens at once does not
# depend on who preempts whom, and is the same each time.
ADAPTER = {"null_data": 1, "engine_prio": 19}
# of simhca's counters: what is made of them
COUNTED = {
    "cqes_per_io": ("cqes",),
    "interrupts_per_io": ("interrupts",),
    "send_doorbells_per_io": ("post_send_calls",),
    "recv_doorbells_per_io": ("post_recv_calls",),
    "dma_maps_per_io": ("dma_map_single", "dma_map_sg"),
    "wrs_per_io": ("post_send_wrs",),
}


@dataclass(frozen=True)
class Workload:
    """What fio is asked for."""
    rw: str
    size: str
    depth: int
    batch: int = 1
    engine: str = "libaio"

    @property
    def name(self):
        """For tables."""
        batch = f" batches of {self.batch}" if self.batch > 1 else ""
        return f"{self.size} {self.rw} qd{self.depth}{batch}"

    def command(self, device):
        """fio's command line."""
        words = {"name": "bench", "filename": device, "rw": self.rw, "bs": self.size,
                 "iodepth": self.depth, "iodepth_batch_submit": self.batch,
                 "iodepth_batch_complete_min": self.batch, "ioengine": self.engine, "direct": 1,
                 "runtime": SECONDS, "output-format": "json"}
        if self.rw == "randrw":
            words["rwmixread"] = 70
        return "fio --thread --time_based --norandommap --randrepeat=1 " + \
            " ".join(f"--{name}={value}" for name, value in words.items())


def _both(size, depth, **more):
    return [Workload(rw, size, depth, **more) for rw in ("randread", "randwrite")]


WORKLOADS = (*_both("4k", 1), *_both("4k", 32), *_both("4k", 32, batch=16, engine="io_uring"),
             *_both("64k", 8), *_both("128k", 8), *_both("1m", 8), Workload("randrw", "8k", 32))

# what a guarantee can matter to
GUARANTEED = (*_both("4k", 32, batch=16, engine="io_uring"), *_both("64k", 8))
GUARANTEES = {
    "ib_iser": (),
    "same keys": (variants.SAME_KEYS,),
    "unwaited Sends": (variants.UNWAITED_SENDS,),
    "invalidates alone": (variants.ALONE,),
    "alone, live keys": (variants.ALONE, variants.LIVE_KEYS),
}


def fio(guest, device, workload):
    """One measurement; a dictionary."""
    said = guest.run(workload.command(device), timeout=300).stdout
    (job,) = json.loads(said[said.index("{"):])["jobs"]
    if job["error"]:
        raise LabError(f"fio: error {job['error']} on {device}")
    sides = [job[side] for side in ("read", "write") if job[side]["total_ios"]]
    busiest = max(sides, key=lambda side: side["total_ios"])
    percentile = busiest["clat_ns"]["percentile"]
    return {"iops": sum(side["iops"] for side in sides),
            "p50_us": percentile["50.000000"] / 1000, "p99_us": percentile["99.000000"] / 1000}


def measure(peer, device, workload):
    """One measurement, with what the simulated adapter counts meanwhile."""
    hca = getattr(peer, "hca", None)
    if not hca:
        found = fio(peer.guest, device, workload)
        return found | {"insns_per_io": NANO / found["iops"]}
    with hca.counting() as counted:
        found = fio(peer.guest, device, workload)
    ios = counted["cmds_read"] + counted["cmds_write"]
    found["insns_per_io"] = NANO / found["iops"] - counted["engine_ns"] / ios
    return found | {name: sum(counted[counter] for counter in counters) / ios
                    for name, counters in COUNTED.items()}


def rounds(compared, workloads, repeats):
    """Measure all in turns; {(peer, workload): [measurement]}."""
    found = defaultdict(list)
    for number in range(repeats):
        for peer in compared:
            say(f"bench: round {number + 1} of {repeats}: {peer.name}")
            with peer.disk() as device:
                for workload in workloads:
                    found[peer.name, workload.name].append(measure(peer, device, workload))
    return found


def summary(found, device):
    """A list of objects for results.json: medians, and the spread of the cost."""
    results = []
    for (peer, workload), measured in found.items():
        values = {name: statistics.median(each[name] for each in measured)
                  for name in measured[0]}
        costs = [each["insns_per_io"] for each in measured]
        values["spread"] = (max(costs) - min(costs)) / values["insns_per_io"]
        results.append({"transport": peer, "device": device, "workload": workload} |
                       {name: round(value, 4) for name, value in values.items()})
    return results


def rivals(guest, hca=None):
    """Ours, the kernel's own, and on a real network those that are not iSER."""
    others = [] if hca else [peers.Tcp(guest), peers.Nvme(guest)]
    return [peers.Iser(guest, "ib_iser", peers.own(guest), hca),
            peers.Iser(guest, "kernel's ib_iser", peers.stock(guest), hca), *others]


def guarantees(guest, hca=None):
    """Ours, and what it would be without a guarantee."""
    return [peers.Iser(guest, name, peers.own(guest, name, variants.of(*edits)), hca)
            for name, edits in GUARANTEES.items()]


def over_rxe(guest, compared):
    """What is to be compared over soft-RoCE."""
    fabric.up(guest)
    peers.serve(guest)
    return compared(guest)


def over_simhca(guest, compared):
    """What is to be compared over a simulated adapter."""
    return compared(guest, simhca.load(guest, **ADAPTER))


def bench(kernel, device, compared, workloads, repeats):
    """Measure all over one kind of device, in a guest whose clock counts instructions."""
    with Guest(kernels.get(kernel), name="bench", icount=True, mem_mb=3072,
               boot_timeout=BOOT) as guest:
        Initiator(guest).start()
        found = rounds(DEVICES[device](guest, compared), workloads, repeats)
    return summary(found, device)


DEVICES = {"simhca": over_simhca, "rxe": over_rxe}


def table(results, value, form="{:.0f}"):
    """One figure of all, as lines."""
    names = list(dict.fromkeys(each["transport"] for each in results))
    rows = [["", *names]]
    for workload in dict.fromkeys(each["workload"] for each in results):
        by_peer = {each["transport"]: each for each in results if each["workload"] == workload}
        rows.append([workload, *(form.format(by_peer[name][value]) for name in names)])
    return columns(rows, figures=True)


def show(results):
    """Print what was found."""
    for device in dict.fromkeys(each["device"] for each in results):
        here = [each for each in results if each["device"] == device]
        print(f"\n{device}: instructions for each I/O\n")
        print("\n".join(table(here, "insns_per_io")))
        print(f"\n{device}: IOPS\n")
        print("\n".join(table(here, "iops")))
        for name in COUNTED:
            if name in here[0]:
                print(f"\n{device}: {name.replace('_', ' ')}\n")
                print("\n".join(table(here, name, "{:.2f}")))


def main():
    """Measure, show, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", default="6.12")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--device", choices=DEVICES, action="append")
    parser.add_argument("--workload", default="", help="only those with this in their names")
    parser.add_argument("--guarantees", action="store_true",
                        help="what ours would be without them, and not its peers")
    args = parser.parse_args()
    compared = guarantees if args.guarantees else rivals
    among = GUARANTEED if args.guarantees else WORKLOADS
    workloads = [each for each in among if args.workload in each.name]
    results = sum((bench(args.kernel, device, compared, workloads, args.repeats)
                   for device in args.device or DEVICES), [])
    OUT.mkdir(parents=True, exist_ok=True)
    name = "guarantees.json" if args.guarantees else "results.json"
    (OUT / name).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(results)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)

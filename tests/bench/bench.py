# SPDX-License-Identifier: GPL-2.0-only
"""`make bench`: what an I/O costs, over our module and over its peers, in one run.

Normally: a guest with one processor whose clock counts instructions (qemu -icount: one
instruction, one nanosecond), so that 10^9 / IOPS are the instructions of an I/O, and a repetition
gives the same figures to a per cent. All peers are measured in one boot, in turns, REPEATS times;
a figure is the median, with the spread between the extremes. A plugin of qemu tells which
functions they are.

On rxe the figures have initiator, target and soft-RoCE in them; only their ratios say something.
On simhca the adapter's and the target's share is known and taken out: what is left are fio, the
block and SCSI layers, libiscsi and the module. simhca counts what the module does, too. With the
target in another guest (wire) no instruction is the target's; the clock there is the host's.

What is wanted of the figures is in goals.py; chart.py draws them.

Recovery: none; nothing is measured of a peer that fails, and the run fails. The guest's console
stays in build/bench.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tools" / "lab"))

# pylint: disable=wrong-import-position
import chart  # noqa: E402
import goals  # noqa: E402
import insns  # noqa: E402
import peers  # noqa: E402
from iserlab import fabric, kernels, simhca, variants  # noqa: E402
from iserlab.guest import Guest  # noqa: E402
from iserlab.initiator import Initiator  # noqa: E402
from iserlab.link import Link  # noqa: E402
from iserlab.paths import LabError, say  # noqa: E402
from iserlab.tables import columns  # noqa: E402
from meter import COUNTED, Meter, Workload  # noqa: E402

OUT = REPO / "build" / "bench"
REPEATS = 3
# of perftest's work requests, and how many of each; 128 bytes are as good as a PDU without data
VERBS_SIZES = {"128b": 960, "4k": 960, "64k": 96, "128k": 96, "1m": 32}
BOOT = 600
# It works when the processor has nothing else to do, so that what happens at once does not
# depend on who preempts whom, and is the same each time. It gathers headers and 16 pages.
ADAPTER = {"null_data": 1, "engine_prio": 19, "max_sge": 1 + 16}
IOS = 16384
# tables for the terminal: what, and how it is written
SHOWN = {"insns_per_io": "{:.0f}", "kernel_insns_per_io": "{:.0f}",
         "module_insns_per_io": "{:.0f}", "iops": "{:.0f}",
         "p50_us": "{:.1f}", "p99_us": "{:.1f}", "memory_kib": "{:.0f}",
         **dict.fromkeys(COUNTED, "{:.2f}")}
# of which it is said how far apart the extremes are
SPREAD = ("insns_per_io", "kernel_insns_per_io", "module_insns_per_io", "iops", "p50_us")


def both(size, depth, **more):
    """Reads and writes of a size."""
    return [Workload(rw, size, depth, **more) for rw in ("randread", "randwrite")]


WORKLOADS = (*both("4k", 1), *both("4k", 32), *both("4k", 32, batch=16),
             *both("64k", 8), *both("128k", 8), *both("1m", 8), Workload("randrw", "8k", 32))
OF_A_WIRE = (*both("4k", 32), *both("128k", 8))

# what is enough for variants of ours
SHORT = (*both("4k", 32), *both("4k", 32, batch=16), *both("64k", 8))
# over soft-RoCE: those that more was wanted of than was reached
MISSED = (*both("4k", 1), *both("4k", 32), *both("1m", 8))
GUARANTEES = {
    "ib_iser": (),
    "same keys": (variants.SAME_KEYS,),
    "counted tags": (variants.COUNTED_TAGS,),
    "unwaited Sends": (variants.UNWAITED_SENDS,),
    "invalidates alone": (variants.ALONE,),
    "alone, live keys": (variants.ALONE, variants.LIVE_KEYS),
    "alone, one key": (variants.ALONE, variants.GLOBAL_KEY),
    "headers in place": (variants.IN_PLACE,),
}
# what is in the module to make it cheap, each idea taken away
IDEAS = {
    "ib_iser": (),
    "two hw queues": (variants.TWO_QUEUES,),
    "random tags": (variants.RANDOM_TAGS,),
    "libiscsi's way": (variants.LONG_WAY,),
    "all signalled": (variants.ALL_SIGNALLED,),
    "1 of 128 signalled": (variants.FEW_SIGNALLED,),
    "own doorbells": (variants.OWN_DOORBELL,),
    "REG alone": (variants.OWN_DOORBELL, variants.REG_ALONE),
    "WRs built": (variants.BUILT,),
    "own receives": (variants.OWN_RECEIVE,),
    "more locks": (variants.LOCKED,),
    "syncs": (variants.SYNCED,),
    "clearing": (variants.CLEARED,),
    "no immediate data": (variants.FETCHED,),
    "64k immediate": (variants.GATHERED,),
}
# of these, what takes its time over soft-RoCE, too
OVER_RXE = ("ib_iser", "two hw queues", "libiscsi's way", "all signalled", "own doorbells",
            "REG alone", "WRs built", "own receives")
# what the simulated target of a variant does otherwise
KNOBS = {"64k immediate": {"recv_dsl": 64 << 10}}


def rounds(meter, compared, workloads, repeats):
    """Measure all in turns; {(peer, workload): [measurement]}."""
    found = defaultdict(list)
    for number in range(repeats):
        for peer in compared:
            say(f"bench: round {number + 1} of {repeats}: {peer.name}")
            with peer.disk() as device:
                meter.prepare(peer, device)
                for workload in workloads:
                    found[peer.name, workload.name].append(
                        meter.measure(device, workload, getattr(peer, "hca", None)))
    return found


def medians(measured):
    """One dictionary out of several that may hold dictionaries."""
    names = dict.fromkeys(name for each in measured for name in each)
    return {name: medians([each[name] for each in measured])
            if isinstance(measured[0].get(name), dict) else
            round(statistics.median(each.get(name, 0) for each in measured), 4) for name in names}


def summary(found, device):
    """A list of objects for results.json: medians, and how far apart the extremes are."""
    results = []
    for (peer, workload), measured in found.items():
        results.append({"transport": peer, "device": device, "workload": workload,
                        **medians(measured), "spread": spread(measured)})
    return results


def spread(measured):
    """{figure: what is between its extremes, by the median}, if it was measured more than once."""
    found = {}
    for name in SPREAD if len(measured) > 1 else ():
        values = [each[name] for each in measured if name in each]
        if values:
            found[name] = round((max(values) - min(values)) / statistics.median(values), 4)
    return found


def rivals(guest, hca=None):
    """Ours, the kernel's own, and on a real network those that are not iSER."""
    others = [] if hca else [peers.Tcp(guest), peers.Nvme(guest)]
    return [peers.Iser(guest, "ib_iser", peers.own(guest), hca),
            peers.Iser(guest, "kernel's ib_iser", peers.stock(guest), hca), *others]


def _variants(guest, hca, edited):
    return [peers.Iser(guest, name, peers.own(guest, name, variants.of(*edits)), hca,
                       KNOBS.get(name, {}))
            for name, edits in edited.items()]


def guarantees(guest, hca=None):
    """Ours, and what it would be without a guarantee."""
    return _variants(guest, hca, GUARANTEES)


def ideas(guest, hca=None):
    """Ours, and what it would be without an idea."""
    return _variants(guest, hca, IDEAS if hca else {name: IDEAS[name] for name in OVER_RXE})


def idle(compared):
    """What a session takes that does nothing."""
    return {(peer.name, "idle session"): [{"memory_kib": peers.session_kib(peer)}]
            for peer in compared}


@contextmanager
def metered(kernel, ios=None, **options):
    """A guest whose instructions are counted, and its Meter."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as table:
        counts = insns.Counts(table.name)
        with Guest(kernel, name="bench", mem_mb=3072, boot_timeout=BOOT,
                   devices=counts.words(), **options) as guest:
            yield guest, Meter(guest, counts, ios)


def alone(guest, meter):
    """What soft-RoCE does by itself: no more can be had over it."""
    found = {}
    for what in peers.VERBS:
        for size, count in VERBS_SIZES.items():
            load = Workload(what, size, 32)
            say(f"bench: verbs: {what}: {size}")
            found[f"verbs: {what}", f"{size} qd32"] = [
                meter.difference(count, peers.verbs, guest, what, load.length, load.depth)]
    found["verbs: read", "4k qd1"] = [
        {"p50_us": peers.verbs_latency(guest, Workload("read", "4k", 1).length, VERBS_SIZES["4k"])}]
    return found


def over_rxe(kernel, compared, workloads, repeats):
    """Initiator, soft-RoCE and target in one guest; and soft-RoCE alone, which is the limit."""
    with metered(kernel, icount=True, workdir=OUT) as (guest, meter):
        fabric.up(guest)
        Initiator(guest).start()
        peers.serve(guest)
        found = rounds(meter, compared(guest), workloads, repeats)
        return found | (alone(guest, meter) if compared is rivals else {})


def over_simhca(kernel, compared, workloads, repeats):
    """Over a simulated adapter, which moves no data and has room for many sessions."""
    with metered(kernel, IOS, icount=True, workdir=OUT) as (guest, meter):
        Initiator(guest).start()
        among = compared(guest, simhca.load(guest, **ADAPTER))
        memory = idle(among) if compared is rivals else {}
        return rounds(meter, among, workloads, repeats) | memory


def over_a_wire(kernel, compared, workloads, repeats):
    """The target in another guest: what is counted is the initiator's alone."""
    wire = Link()
    with Guest(kernel, name="target", nets=[wire]) as target, \
            metered(kernel, nets=[wire], extra_cmdline="maxcpus=1", workdir=OUT) as (guest, meter):
        fabric.up(target, peers.SERVER)
        fabric.up(guest, peers.SERVER + 1)
        Initiator(guest).start()
        peers.serve(target)
        among = compared(guest)
        memory = idle(among[:3]) if compared is rivals else {}
        return rounds(meter, among, workloads, repeats) | memory


DEVICES = {"simhca": over_simhca, "rxe": over_rxe, "wire": over_a_wire}
# what there is to compare: who, over which devices, with which workloads
COMPARED = {
    "results": (rivals, {"simhca": WORKLOADS, "rxe": WORKLOADS, "wire": OF_A_WIRE}),
    "guarantees": (guarantees, {"simhca": SHORT, "rxe": SHORT}),
    "ideas": (ideas, {"simhca": SHORT, "rxe": MISSED}),
}


def cell(result, value, form):
    """A figure, and its spread."""
    apart = result.get("spread", {}).get(value)
    return form.format(result[value]) + ("" if apart is None else f" ({apart:.1%})")


def table(results, value, form):
    """One figure of all who have it, as lines; none if nobody does."""
    having = [each for each in results if value in each]
    names = list(dict.fromkeys(each["transport"] for each in having))
    rows = [["", *names]]
    for workload in dict.fromkeys(each["workload"] for each in having):
        figures = {each["transport"]: cell(each, value, form) for each in having
                   if each["workload"] == workload}
        rows.append([workload, *(figures.get(name, "") for name in names)])
    return columns(rows, figures=True) if having else []


def profile(results, workload):
    """Where the instructions of a workload go, as lines."""
    peer = {each["transport"]: each["components"] for each in results
            if each["workload"] == workload and "components" in each}
    names = sorted({name for each in peer.values() for name in each},
                   key=lambda name: -max(each.get(name, 0) for each in peer.values()))
    return columns([["", *peer], *([name, *(f"{each.get(name, 0):.0f}" for each in peer.values())]
                                   for name in names)], figures=True)


def show(results):
    """Print what was found: medians, and in brackets the spread between the extremes."""
    for device in dict.fromkeys(each["device"] for each in results):
        here = [each for each in results if each["device"] == device]
        for name, form in SHOWN.items():
            lines = table(here, name, form)
            if lines:
                print(f"\n{device}: {name.replace('_', ' ')}\n")
                print("\n".join(lines))
        for workload in dict.fromkeys(each["workload"] for each in here if "components" in each):
            if "qd8" not in workload:
                print(f"\n{device}: instructions of a {workload} by component\n")
                print("\n".join(profile(here, workload)))


def keep(results, name):
    """Write them down."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def main():
    """Measure, show, keep, compare with what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", default="6.12")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--device", choices=DEVICES, action="append")
    parser.add_argument("--workload", default="", help="only those with this in their names")
    parser.add_argument("--of", choices=COMPARED, default="results",
                        help="ours and its peers (default), or variants of ours")
    args = parser.parse_args()
    compared, over = COMPARED[args.of]
    results = []
    chosen = {device: [each for each in over.get(device, ()) if args.workload in each.name]
              for device in args.device or over}
    if not any(chosen.values()):
        raise LabError(f"nothing of {args.of} is measured there: see COMPARED")
    for device, workloads in chosen.items():
        if not workloads:
            continue
        found = DEVICES[device](kernels.get(args.kernel), compared, workloads, args.repeats)
        results += summary(found, device)
        keep(results, f"{args.of}.json")
    show(results)
    if compared is rivals:
        print("\n" + "\n".join(goals.lines(results) + goals.beyond(results)))
        drawn = chart.draw(results, OUT)
        if drawn:
            print(f"\nchart: {drawn.relative_to(REPO)}")
    return 0


def status(command):
    """The exit status of a command of the bench, which has said why."""
    try:
        return command()
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(status(main))

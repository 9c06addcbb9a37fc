# SPDX-License-Identifier: GPL-2.0-only
"""Whether an I/O costs what it did: a regression guard, part of `make check` (test_cost.py).

Normally: measure() has our module do a few workloads on the simulated adapter, as bench.py does,
and takes the cheapest of a few times: what else the guest has to do meanwhile only adds. worse()
compares that with recorded.ini, which `make bench-record` writes, on all stock kernels. Who makes
the module cheaper or, for a reason, dearer, records anew in the same commit.

Recovery: a kernel that is not recorded is an error, and so is a figure that the record lacks. On
another release of a kernel than the recorded one it may be that which is dearer: worse() says so.
"""

import configparser
import sys
from pathlib import Path

import bench
import peers
from iserlab import kernels, simhca
from iserlab.initiator import Initiator
from iserlab.paths import LabError
from meter import Workload

RECORD = Path(__file__).with_name("recorded.ini")
HEAD = """\
# SPDX-License-Identifier: GPL-2.0-only
#
# What an I/O costs over the simulated adapter, by kernel and workload; `make bench-record` writes
# this, guard.py reads it.

"""
KERNELS = ("6.1", "6.12")
REPEATS = 2
# how much more of a figure is no news: of the module's own share, a tenth of a 4k I/O, less, as
# nothing else is in it; on a quiet host two boots differ by a tenth of that
TOLERANCE = {"module_insns_per_io": 0.02}
TOLERATED = 0.03
WORKLOADS = (Workload("randread", "4k", 32, batch=16), Workload("randwrite", "4k", 32, batch=16),
             Workload("randread", "64k", 1), Workload("randwrite", "64k", 1))
FIGURES = ("kernel_insns_per_io", "module_insns_per_io", "cqes_per_io",
           "send_doorbells_per_io", "recv_doorbells_per_io", "dma_maps_per_io", "wrs_per_io")
# counts of what a handful of I/Os more or less makes a difference to
LEAST = 0.01


def measure(kernel, **options):
    """{workload: {figure: value}}"""
    with bench.metered(kernel, bench.IOS, icount=True, **options) as (guest, meter):
        Initiator(guest).start()
        peer = peers.Iser(guest, "ib_iser", peers.own(guest), simhca.load(guest, **bench.ADAPTER))
        with peer.disk() as device:
            meter.prepare(peer, device)
            found = [{each.name: meter.measure(device, each, peer.hca) for each in WORKLOADS}
                     for _ in range(REPEATS)]
        complaints = guest.reports()
    if complaints:
        raise LabError("\n".join(["the kernel complained meanwhile:", *complaints]))
    return {each.name: cheapest([measured[each.name] for measured in found])
            for each in WORKLOADS}


def cheapest(measured):
    """Each figure at its lowest."""
    return {figure: round(min(values[figure] for values in measured), 3) for figure in FIGURES}


def recorded(name):
    """What a kernel of that name was recorded with: its release, and the same form."""
    record = configparser.ConfigParser()
    record.read(RECORD, encoding="utf-8")
    if name not in record:
        raise LabError(f"nothing is recorded for kernel {name}: make bench-record")
    return record[name]["release"], {
        section.removeprefix(f"{name}: "): {figure: float(value)
                                            for figure, value in record[section].items()}
        for section in record.sections() if section.startswith(f"{name}: ")}


def worse(found, record, release, was_release):
    """What costs more than it did, as lines."""
    lines = []
    for workload, figures in found.items():
        for figure, value in figures.items():
            was = record.get(workload, {}).get(figure)
            if was is None:
                raise LabError(f"{workload}: {figure} was not recorded: make bench-record")
            if value > was * (1 + TOLERANCE.get(figure, TOLERATED)) + LEAST:
                lines.append(f"{workload}: {figure} is {value:g}, was {was:g}")
    if lines and release != was_release:
        lines.append(f"recorded on {was_release}, measured on {release}: if the commit before costs"
                     " the same here, make bench-record")
    return lines


def write(found):
    """Record {kernel: what measure() found on it}."""
    record = configparser.ConfigParser()
    for kernel, workloads in found.items():
        record[kernel.name] = {"release": kernel.release}
        for workload, figures in workloads.items():
            record[f"{kernel.name}: {workload}"] = figures
    with open(RECORD, "w", encoding="utf-8") as file:
        file.write(HEAD)
        record.write(file)


def main():
    """Record."""
    found = {kernel: measure(kernel) for kernel in map(kernels.get, KERNELS)}
    write(found)
    print(RECORD.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(bench.status(main))
